"""A finished model from a store, ready to answer requests: for do=sample, and for `ablatent.load`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.images import picture
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.core.targets import TARGET, target_of
from ablatent.core.verbose import detail
from ablatent.data.base import Annotations
from ablatent.inference.model_reference import Reference, find
from ablatent.inference.request import Request, RequestResolver
from ablatent.samplers.base import Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import ClassifierFree, Guidance, NoGuidance
from ablatent.stages.check_sampling import check_sampling_of
from ablatent.stages.context import StageInputs, compute_of, device_of, set_up_torch
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.generator import Generator, load_generator, tiling_of
from ablatent.stages.models import load_imported
from ablatent.stages.provenance import git_state, packages
from ablatent.store.artifacts import Store
from ablatent.tasks.base import Task, TaskContext
from ablatent.tasks.generate import Guided
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.sample import Sample


def node_of(kind: type[Any], **options: Any) -> dict[str, Any]:
    """The configuration node of a class with these options."""
    return {TARGET: target_of(kind), **options}


# For models without a job: imported ones, and stages built by themselves.
DEFAULTS: dict[str, Any] = {
    "sampler": node_of(DDIM, steps=50),
    "guidance": node_of(NoGuidance),
    "task": node_of(Sample),
    "samples": {"weights": "ema", "snapshot": "last", "decode_tile": None, "decode_overlap": 16},
    "runtime": {"device": "auto", "devices": 1, "compile": False, "compile_mode": "network", "deterministic": True,
                "threads": None, "batch_size": 64, "checkpoint_seconds": 10.0, "precision": "32-true"},
}  # fmt: skip
INPAINT = node_of(Inpaint, **asdict(Inpaint()))
"""The task in place of plain sampling, of a model that was trained to fill holes: it reads an image and a mask."""
EXAMPLES = {"task": "Inpaint()", "sampler": "DDPM(steps=200)"}
IMPORTED_SIZE = 256
"""Side in pixels of the images of released models where `size` is not given: it does not follow from the weights."""


@dataclass(frozen=True)
class SampleResult:
    """The images of a request, with their metadata.

    images: a row a sample; metadata: everything that decides them, as plain values, for do=sample (task and sampler
    objects given in Python are not described); messages: lines for the user.
    """

    images: UInt8[np.ndarray, "n H W C"]
    metadata: dict[str, Any]
    messages: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pipeline:
    """A model of the store with its sampling options.

    config: nodes sampler, guidance, task, samples, runtime; size: side in pixels of an imported model's images.
    """

    store: Store
    reference: Reference
    config: Mapping[str, Any]
    size: int | None = None

    @staticmethod
    def load(path: str | Path, model: str, size: int | None = None) -> "Pipeline":
        """The model of that name in the store at `path`, sampled as its job sampled it. See `model_reference.find`.

        size: side in pixels of an imported model's images. Raises ConfigError where there is no such store or model.
        """
        if not Path(path).is_dir():
            raise ConfigError("store.path", "the folder of a store", str(path), "There is no such folder.")
        store = Store(path)
        reference = find(store.root, model)
        job = reference.config or {}
        config = {name: job.get(name, DEFAULTS[name]) for name in DEFAULTS} | {"task": DEFAULTS["task"]}
        return Pipeline(store, reference, config, size)

    def sample(
        self,
        prompt: str | Sequence[str] | None = None,
        n: int = 1,
        seed: int = 0,
        *,
        label: int | str | None = None,
        image: str | Path | None = None,
        mask: str | Path | None = None,
        map: str | Path | None = None,
        boxes: Sequence[Sequence[Any]] | None = None,
        annotations: Mapping[str, Any] | None = None,
        task: Task | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
        scale: float | None = None,
    ) -> list[Any]:
        """n PIL images (of each prompt, where there are several), of mode RGB, or L of a greyscale model.

        label: a class, by number or name; image, mask, map: files; annotations: further ones that the model reads, by
        name; task, sampler: for example tasks.inpaint.Inpaint(), samplers.ddpm.DDPM(). None: plain sampling, or
        Inpaint() of a model that fills holes; the sampler of the job. steps: of that sampler; scale: of the job's
        guidance, or of classifier-free guidance where it had none. Raises ConfigError for what the model does not read.
        """
        sampler_node, guidance = dict(self.config["sampler"]), dict(self.config["guidance"])
        if steps is not None:
            if sampler is not None:
                raise ConfigError("steps", "None beside a sampler, which has its own", steps)
            sampler_node["steps"] = steps
        if scale is not None:
            guidance = {**guidance, "scale": scale} if "scale" in guidance else node_of(ClassifierFree, scale=scale)
        for name, value, kind in (("task", task, Task), ("sampler", sampler, Sampler)):
            if value is not None and not isinstance(value, kind):
                raise ConfigError(name, f"an object of ablatent.{name}s, for example {EXAMPLES[name]}", value)
        files = {"image": image, "mask": mask, "map": map}
        for name, file in files.items():
            if file is not None and not isinstance(file, str | Path):
                raise ConfigError(name, "the path of a file", type(file).__name__)
        if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
            raise ConfigError("label", "the number of a class, or its name", label)
        several = isinstance(prompt, list | tuple)
        prompts: tuple[Any, ...] = tuple(prompt or ()) if several or prompt is None else (prompt,)
        named = isinstance(label, str)
        request = Request(
            prompts=prompts,
            class_=str(label) if named else None,
            label=None if named or label is None else int(label),
            boxes=boxes,
            annotations=annotations or {},
            n=n,
            seed=seed,
            **{name: None if file is None else str(file) for name, file in files.items()},
        )
        chosen = replace(self, config={**self.config, "sampler": sampler_node, "guidance": guidance})
        try:
            images = chosen.answer(request, task, sampler).images
        except ConfigError as e:
            if e.key != "class":  # a keyword of Python: here the argument is `label`
                raise
            raise ConfigError("label", e.expected, e.got, e.do) from None
        return [picture(image) for image in images]

    @torch.no_grad()
    def answer(self, request: Request, task: Task | None = None, sampler: Sampler | None = None) -> SampleResult:
        """The images of a request; everything is checked before the first step.

        task, sampler: in place of those of the configuration. Raises ConfigError for what does not fit the model.
        """
        set_up_torch(self.config["runtime"])
        node, runtime = self.config["task"], compute_of(self.config["runtime"], "32-true")
        chosen: Task = make(node, Task) if task is None else task
        sampler = make(self.config["sampler"], Sampler) if sampler is None else sampler
        generator, segments = self._generator()
        model, messages = generator.model, list[str]()
        size = model.latent_shape[1] * model.first_stage.downsample
        fills = any(part.fills for part in model.conditioner.info())
        if fills and task is None and chosen == Sample():
            node, chosen = INPAINT, Inpaint()
            random = "" if request.mask else "; each image gets a random hole of its own; mask=FILE chooses one"
            messages.append(f"the model fills holes of images: task=inpaint{random}")
        resolver = RequestResolver(
            task=chosen,
            needs=generator.needs,
            classes=generator.validation_source.annotations.classes,
            segments=segments,
            size=size,
            low_resolution_size=model.conditioner.low_resolution_size,
            max_boxes=model.conditioner.max_boxes,
            fills=fills,
            channels=model.first_stage.image_channels,
            messages=messages,
        )
        check_sampling_of(model, chosen, sampler, generator.guided.guidance, size)
        source, mask = resolver.source(request), resolver.mask(request)
        with track("sampling", request.count * chosen.steps_each(sampler), "image steps") as bar:
            context = TaskContext(
                model=model,
                sampler=sampler,
                seed=request.seed,
                draw=generator.drawing(request.seed, runtime.batch_size, bar),
                features=_no_features,
                mask=mask,
            )
            images = chosen.draw(context, source, range(request.count))
        return SampleResult(images, self._metadata(request, node, size), messages)

    def _generator(self) -> tuple[Generator, Sequence[str]]:
        """(the model's generator, names of its segments)."""
        inputs = StageInputs(self.store, self.reference.inputs, device_of(self.config["runtime"]))
        options, guidance = self.config["samples"], make(self.config["guidance"], Guidance)
        for kind in guidance.needs_stages if guidance.needs_classifier else ():
            if kind not in self.reference.inputs:
                do = "Its job had none: run one with this guidance, or choose guidance=none."
                raise ConfigError("guidance", f"one that needs no {kind}", type(guidance).__name__, do)
        if not self.reference.imported:
            trained = inputs.open(DiffusionKind.name)
            detail(f"weights: {options['weights']} after step {options['snapshot']}, of {trained.path}")
            summary = trained.json("summary.json")
            _check_weak(guidance, options, summary["snapshots"])
            nodes = {**options, "guidance": self.config["guidance"], "prompts": None}
            return load_generator(inputs, nodes), summary["segment_names"]
        if guidance.needs_weak:
            raise ConfigError("guidance", "one that needs no earlier snapshot", type(guidance).__name__)
        model = load_imported(inputs, options["weights"], self.size or IMPORTED_SIZE)
        model = replace(model, tiling=tiling_of(options))
        classes = tuple(str(i) for i in range(model.conditioner.classes))
        return Generator(model, Guided(guidance), Source(0, Annotations(classes=classes))), []

    def _metadata(self, request: Request, task: Mapping[str, Any], size: int) -> dict[str, Any]:
        """Everything that decides the images, for `repeat` and for readers."""
        runtime = compute_of(self.config["runtime"], "32-true")
        return {
            "keys": dict(self.reference.inputs),
            **{name: self.config[name] for name in ("sampler", "guidance", "samples")},
            "task": dict(task),
            "request": request.values(),
            "files": request.files(),
            "size": size,
            "runtime": {
                "batch_size": runtime.batch_size,
                "threads": torch.get_num_threads(),
                "device": runtime.device,
            },
            "versions": packages(),
            "git": git_state(),
        }


def _check_weak(guidance: Guidance, samples: Mapping[str, Any], snapshots: Sequence[int]) -> None:
    """Raise ConfigError unless the weaker model of a guidance is of an earlier step than the sampled one."""
    if guidance.weak is None:
        return
    weights, snapshot = guidance.weak
    kept = sorted(snapshots)
    sampled = kept[-1] if samples["snapshot"] == "last" else int(samples["snapshot"])
    weak = kept[0] if snapshot == "first" else int(snapshot)
    if weak not in kept or (weak, weights) == (sampled, samples["weights"]) or weak > sampled:
        do = "Its training must keep an earlier one (training.snapshots). Or choose guidance=none."
        raise ConfigError("guidance.snapshot", f"an earlier one of {kept} than {sampled}", snapshot, do)


def _no_features(images: np.ndarray) -> np.ndarray:
    raise ValueError("images of requests are not measured")
