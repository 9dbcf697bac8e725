"""A finished model from a store, ready to answer requests: for do=sample, and for `ablatent.load`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.images import picture
from ablatent.core.instantiate import make
from ablatent.core.progress import track
from ablatent.core.verbose import detail
from ablatent.data.base import Annotations
from ablatent.data.tensors import to_images
from ablatent.inference.arguments import check_latents, check_objects, pixels_of, request_of_arguments
from ablatent.inference.defaults import DEFAULTS, INPAINT, node_of
from ablatent.inference.guiding_model import GuidedModel, check_guiding
from ablatent.inference.model_reference import Reference, find
from ablatent.inference.request import Request, RequestResolver
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import ClassifierFree, Guidance, WeakModel
from ablatent.stages.check_sampling import check_sampling_of
from ablatent.stages.context import StageInputs, compute_of, device_of, set_up_torch
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.generator import Generator, generator_of, tiling_of
from ablatent.stages.kept_weights import WeightsChoice
from ablatent.stages.models import load_imported, load_model
from ablatent.stages.provenance import git_state, packages
from ablatent.store.artifacts import Store
from ablatent.store.identity import digest
from ablatent.tasks.base import Task, TaskContext
from ablatent.tasks.generate import Guided, Model
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.sample import Sample

DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class SampleResult:
    """The images of a request, with their metadata.

    images: a row a sample; metadata: everything that decides them, as plain values, for do=sample (task,
    sampler and guidance objects given in Python are not described); messages: lines for the user.
    """

    images: UInt8[np.ndarray, "n H W C"]
    metadata: dict[str, Any]
    messages: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pipeline:
    """A finished model of a store with its sampling options; `ablatent.load` makes one.

    Images are 8-bit: lists of PIL images (RGB, or L of a greyscale model), or uint8 arrays (n, H, W, C). Latents are
    tensors (n, c, h, w), normalised as the diffusion model was trained on them, on the model's device.

    config: nodes sampler, guidance, task, samples, runtime; size: side in pixels of an imported model's images; loaded:
    what was loaded, by what decides it.
    """

    store: Store
    reference: Reference
    config: Mapping[str, Any]
    size: int | None = None
    loaded: dict[str, Model] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def load(model: str, store: str | Path, *, size: int | None = None, device: str = "auto") -> "Pipeline":
        """See `ablatent.load`."""
        if not Path(store).is_dir():
            do = "There is no such folder. The store is the argument `store`."
            raise ConfigError("store.path", "the folder of a store", str(store), do)
        if device not in DEVICES or (device == "gpu" and not torch.cuda.is_available()):
            do = "" if device not in DEVICES else "torch sees no GPU."
            raise ConfigError("device", " | ".join(DEVICES), device, do)
        opened = Store(Path(store).resolve())  # the caller may go to another folder
        reference = find(opened.root, model)
        job = reference.config or {}
        config = {name: job.get(name, DEFAULTS[name]) for name in DEFAULTS} | {"task": DEFAULTS["task"]}
        config["runtime"] = {**config["runtime"], "device": device}
        return Pipeline(opened, reference, config, size)

    @property
    def model(self) -> Model:
        """The trained parts: first stage, normalizer of latents, denoiser (network, schedule, parameterization),
        conditioner, latent_shape (c, h, w) and device; frozen, in evaluation mode. Loaded when they are first used."""
        decides = digest(
            {"samples": self.config["samples"], "device": self.config["runtime"]["device"], "size": self.size}
        )
        if decides not in self.loaded:
            set_up_torch(self.config["runtime"])
            self.loaded[decides] = self._load()
        return self.loaded[decides]

    def encode(self, images: Sequence[Image.Image] | UInt8[np.ndarray, "n H W C"]) -> Float32[Tensor, "n c h w"]:
        """The latents of images: the means of the encoder, normalised, on the model's device.

        images: PIL images of one size, or uint8 (n, H, W, C); their sides are multiples of the first stage's
        downsampling factor, and need not be those of the training. Raises ConfigError for others.
        """
        first_stage = self.model.first_stage
        return self.model.encode(pixels_of(images, first_stage.image_channels, first_stage.downsample))

    def decode(self, latents: Float[Tensor, "n c h w"]) -> list[Image.Image]:
        """The images of latents, as `sample` gives images: n PIL images, clipped to their range.

        latents: normalised, as `encode` gives them, on any device. Raises ConfigError for another shape, StageError
        where they, or the images, are not finite.
        """
        model, size = self.model, int(self.config["runtime"]["batch_size"])
        check_latents(latents, model.first_stage.latent_channels)
        parts = [to_images(model.decode(part.to(model.device))) for part in latents.split(size)]
        return [picture(image) for part in parts for image in part]

    def sample(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        prompt: str | Sequence[str] | None = None,
        label: int | str | None = None,
        image: str | Path | None = None,
        mask: str | Path | None = None,
        map: str | Path | None = None,
        boxes: Sequence[Sequence[Any]] | None = None,
        annotations: Mapping[str, Any] | None = None,
        task: Task | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
        guidance: Guidance | None = None,
        scale: float | None = None,
    ) -> list[Image.Image]:
        """n PIL images (of each prompt, where there are several), of mode RGB, or L of a greyscale model.

        seed: of the noise; image i of a seed starts from the same noise whatever n is. prompt, label (a class, by
        number or name), image, mask, map (files), boxes, annotations (further ones, by name): the condition, as far as
        the model reads one; without it, classes in turn. task, sampler, guidance: objects, for example
        tasks.inpaint.Inpaint(), samplers.ddpm.DDPM(steps=200), samplers.guidance.ClassifierFree(scale=3.0); None:
        plain sampling, or Inpaint() of a model that fills holes, and sampler and guidance of the model's job. steps: of
        that sampler; scale: of that guidance, or of classifier-free guidance where the job had none.
        Everything is checked before the first step. Raises ConfigError for what does not fit the model.
        """
        check_objects(task, sampler, guidance, steps, scale)
        request = request_of_arguments(
            n=n,
            seed=seed,
            prompt=prompt,
            label=label,
            files={"image": image, "mask": mask, "map": map},
            boxes=boxes,
            annotations=annotations,
        )
        nodes = {name: dict(self.config[name]) for name in ("sampler", "guidance")}
        if steps is not None:
            nodes["sampler"]["steps"] = steps
        if scale is not None and "scale" in nodes["guidance"]:
            nodes["guidance"]["scale"] = scale
        elif scale is not None:
            nodes["guidance"] = node_of(ClassifierFree, scale=scale)
        try:
            images = replace(self, config={**self.config, **nodes}).answer(request, task, sampler, guidance).images
        except ConfigError as e:
            if e.key != "class":  # a keyword of Python: here the argument is `label`
                raise
            raise ConfigError("label", e.expected, e.got, e.do) from None
        return [picture(image) for image in images]

    @torch.no_grad()
    def answer(
        self,
        request: Request,
        task: Task | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
    ) -> SampleResult:
        """The images of a request; everything is checked before the first step.

        task, sampler, guidance: in place of those of the configuration. Raises ConfigError for what does not fit the
        model.
        """
        set_up_torch(self.config["runtime"])
        node, runtime = self.config["task"], compute_of(self.config["runtime"], "32-true")
        chosen: Task = make(node, Task) if task is None else task
        sampler = make(self.config["sampler"], Sampler) if sampler is None else sampler
        generator, segments = self._generator(guidance)
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

    def _generator(self, chosen: Guidance | None) -> tuple[Generator, Sequence[str]]:
        """(the model's generator, names of its segments). chosen: in place of the guidance of the configuration."""
        guidance = make(self.config["guidance"], Guidance) if chosen is None else chosen
        for kind in guidance.needs_stages if guidance.needs_classifier else ():
            if kind not in self.reference.inputs:
                do = "Its job had none: run one with this guidance, or choose guidance=none."
                raise ConfigError("guidance", f"one that needs no {kind}", type(guidance).__name__, do)
        if self.reference.imported:
            if guidance.needs_weak:
                raise ConfigError("guidance", "one that needs no weaker model", type(guidance).__name__)
            classes = tuple(str(i) for i in range(self.model.conditioner.classes))
            return Generator(self.model, Guided(guidance), Source(0, Annotations(classes=classes))), []
        trained = self._inputs.open(DiffusionKind.name)
        summary = trained.json("summary.json")
        if guidance.weak is not None and guidance.weak.model is not None:
            check_guiding(self.store, guidance.weak._asdict(), GuidedModel.of(trained))
        elif guidance.weak is not None:
            _check_weak(guidance.weak, self.config["samples"], summary["snapshots"])
        return generator_of(self._inputs, self.model, guidance), summary["segment_names"]

    @property
    def _inputs(self) -> StageInputs:
        return StageInputs(self.store, self.reference.inputs, device_of(self.config["runtime"]))

    def _load(self) -> Model:
        """The model, by its weights that the options of `samples` choose."""
        options = self.config["samples"]
        if self.reference.imported:
            if (width := options.get("ema_width")) is not None:
                raise ConfigError("samples.ema_width", "null of an imported network, which has one average", width)
            model = load_imported(self._inputs, options["weights"], self.size)
        else:
            trained = self._inputs.open(DiffusionKind.name)
            choice = WeightsChoice.of(options)
            detail(f"weights: {choice.name} after step {choice.snapshot}, of {trained.path}")
            model = load_model(self._inputs, choice)
        return replace(model, tiling=tiling_of(options))

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


def _check_weak(chosen: WeakModel, samples: Mapping[str, Any], snapshots: Sequence[int]) -> None:
    """Raise ConfigError unless the weaker model of a guidance is of an earlier step than the sampled one."""
    kept, choice = sorted(snapshots), WeightsChoice.of(samples)
    ends = {"first": kept[0], "last": kept[-1]}
    sampled, weak = (int(ends.get(str(step), step)) for step in (choice.snapshot, chosen.snapshot))
    same = (weak, chosen.weights, chosen.ema_width) == (sampled, choice.weights, choice.ema_width)
    if weak not in kept or same or weak > sampled:
        do = "Its training must keep an earlier one (training.snapshots). Or name guidance.model, or guidance=none."
        raise ConfigError("guidance.snapshot", f"an earlier one of {kept} than {sampled}", chosen.snapshot, do)


def _no_features(images: np.ndarray) -> np.ndarray:
    raise ValueError("images of requests are not measured")
