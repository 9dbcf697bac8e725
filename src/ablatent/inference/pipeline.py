"""A finished model out of a store, ready to answer requests: for do=sample, and for `ablatent.load`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.class_label import ClassLabel
from ablatent.conditioning.layout import Layout
from ablatent.conditioning.low_resolution import LowResolution
from ablatent.conditioning.several import Several
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.progress import track
from ablatent.data.base import Annotations
from ablatent.inference.model_reference import Reference, find
from ablatent.inference.request import Asker, Request
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.stages.check_task import check_sampling_of
from ablatent.stages.context import Context, set_up_torch
from ablatent.stages.base import Stage
from ablatent.stages.models import load_imported, reads_in
from ablatent.core.instantiate import make
from ablatent.stages.samples.build import Generator, load_generator, tiling_of
from ablatent.store.artifacts import Store, Work
from ablatent.store.identity import with_neutral
from ablatent.sweep.builder import git_state, packages
from ablatent.tasks.base import TaskContext, Task
from ablatent.tasks.fill import TRAINED
from ablatent.tasks.generate import Guided
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.sample import Sample
from ablatent.tracking.base import NoRun, RunSpec

# For models of which no job is known: imported ones, and stages built by themselves.
PLAIN: dict[str, Any] = {
    "sampler": {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 50},
    "guidance": {"_target_": "ablatent.samplers.guidance.NoGuidance"},
    "task": {"_target_": "ablatent.tasks.sample.Sample"},
    "samples": {"weights": "ema", "snapshot": "last"},
    "runtime": {"device": "auto", "devices": 1, "compile": False, "threads": None, "batch_size": 64,
                "checkpoint_seconds": 10.0, "precision": "32-true"},
}  # fmt: skip
INPAINT: dict[str, Any] = {"_target_": "ablatent.tasks.inpaint.Inpaint", **asdict(Inpaint())}
"""In place of plain sampling, of a model that was trained to fill holes: it reads a picture and a mask."""
EXAMPLES = {"task": "Inpaint()", "sampler": "DDPM(steps=200)"}
CLASSIFIER_FREE = {"_target_": "ablatent.samplers.guidance.ClassifierFree", "interval": None, "unit": "t"}
IMPORTED_SIZE = 256
"""Pixels: of the pictures of most released models. The weights do not tell."""


@dataclass(frozen=True)
class Answer:
    """images, a row a sample; said: lines for the person who asked.

    about: what decides them, as plain values; of do=sample, since objects that Python hands over are not described.
    """

    images: UInt8[np.ndarray, "n H W 3"]
    about: dict[str, Any]
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finished:
    """A model of the store with the way to sample it. config: nodes sampler, guidance, task, samples, runtime."""

    store: Store
    reference: Reference
    config: Mapping[str, Any]
    size: int | None = None

    @staticmethod
    def load(path: str | Path, model: str, size: int | None = None) -> "Finished":
        """The model of that name in the store at `path`, sampled as its job sampled it. See `references.find`.

        size: pixels of an imported model's pictures.
        """
        if not Path(path).is_dir():
            raise ConfigError("store.path", "the folder of a store", str(path), "There is no such folder.")
        store = Store(path)
        reference = find(store.root, model)
        known = reference.config or {}
        config = {name: known.get(name, PLAIN[name]) for name in PLAIN} | {"task": PLAIN["task"]}
        return Finished(store, reference, config, size)

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
        task: Task | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
        scale: float | None = None,
    ) -> list[Any]:
        """n PIL pictures (of each prompt, where there are several).

        label: a class, by number or name; image, mask, map: files; task, sampler: for example tasks.inpaint.Inpaint(),
        samplers.ddpm.DDPM(). None: plain sampling, or Inpaint() of a model that fills holes; the sampler of the job.
        steps: of that sampler; scale: of the job's guidance, or of classifier-free guidance where it had none. Raises
        ConfigError for what the model does not read.
        """
        from PIL import Image

        usual, guidance = dict(self.config["sampler"]), dict(self.config["guidance"])
        if steps is not None:
            if sampler is not None:
                raise ConfigError("steps", "None beside a sampler, which has its own", steps)
            usual["steps"] = steps
        if scale is not None:
            guidance = {**(guidance if "scale" in guidance else CLASSIFIER_FREE), "scale": scale}
        for name, value, kind in (("task", task, Task), ("sampler", sampler, Sampler)):
            if value is not None and not isinstance(value, kind):
                raise ConfigError(name, f"an object of ablatent.{name}s, for example {EXAMPLES[name]}", value)
        for name, file in (("image", image), ("mask", mask), ("map", map)):
            if file is not None and not isinstance(file, str | Path):
                raise ConfigError(name, "the path of a file", type(file).__name__)
        if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
            raise ConfigError("label", "the number of a class, or its name", label)
        several = isinstance(prompt, list | tuple)
        prompts: tuple[Any, ...] = tuple(prompt or ()) if several or prompt is None else (prompt,)
        named = isinstance(label, str)
        request = Request(
            prompts,
            class_=str(label) if named else None,
            label=None if named or label is None else int(label),
            image=None if image is None else str(image),
            mask=None if mask is None else str(mask),
            map=None if map is None else str(map),
            boxes=boxes,
            n=n,
            seed=seed,
        )
        chosen = replace(self, config={**self.config, "sampler": usual, "guidance": guidance})
        try:
            images = chosen.answer(request, task, sampler).images
        except ConfigError as e:
            if e.key != "class":  # which is a keyword of Python: here it is said as label
                raise
            raise ConfigError("label", e.expected, e.got, e.do) from None
        return [Image.fromarray(picture) for picture in images]

    @torch.no_grad()
    def answer(self, request: Request, task: Task | None = None, sampler: Sampler | None = None) -> Answer:
        """The pictures that are asked for; everything is checked before the first step."""
        set_up_torch(self.config["runtime"])
        node = self.config["task"]
        asked_task: Task = make(node) if task is None else task
        sampler = make(self.config["sampler"]) if sampler is None else sampler
        ctx = self._context()
        generator, classes, segments = self._generator(ctx)
        model = generator.model
        size = model.latent_shape[1] * model.first_stage.downsample
        fills = TRAINED in reads_in(model.conditioner)
        instead = fills and task is None and asked_task == Sample()
        if instead:
            node, asked_task = INPAINT, Inpaint()
        asker = Asker(asked_task, generator.needs, classes, segments, size, *sides(model.conditioner), fills)
        if instead:
            drawn = "" if request.mask else "; each picture gets a hole of its own, and mask=FILE says which"
            asker.said.append(f"the model fills holes of pictures: task=inpaint{drawn}")
        check_sampling_of(model, asked_task, sampler, generator.guided.guidance, size)
        source, hole = asker.source(request), asker.hole(request)
        with track("sampling", request.count * asked_task.steps_each(sampler), "image steps") as bar:
            draw = generator.drawing(request.seed, ctx.compute.batch_size, bar)
            context = TaskContext(model, sampler, request.seed, draw, _no_features, hole=hole)
            images = asked_task.draw(context, source, range(request.count))
        return Answer(images, self._about(request, node, ctx, size), asker.said)

    def _context(self) -> Context:
        """A samples stage that is read from, and never built."""
        config = {**with_neutral(self.config["samples"], "samples"), "prompts": None}
        config |= {"sampler": self.config["sampler"], "guidance": self.config["guidance"]}
        stage = Stage("samples", config, self.reference.inputs)
        work = Work(stage.key, self.store.work_folder(stage.key), "", "")
        run = NoRun(RunSpec("", "", "", "", {}))
        return Context(stage, self.store, work, self.config["runtime"], run)

    def _generator(self, ctx: Context) -> tuple[Generator, Sequence[str], Sequence[str]]:
        """(generator, names of classes, names of segments)."""
        guidance: Guidance = make(self.config["guidance"])
        if guidance.needs_classifier and "classifier" not in self.reference.inputs:
            do = "Its job had none: run one with guidance=classifier, or choose guidance=none."
            raise ConfigError("guidance", "one that needs no classifier", type(guidance).__name__, do)
        if guidance.weak is not None and not self.reference.imported:
            self._check_weak(ctx, *guidance.weak)
        if not self.reference.imported:
            generator, summary = load_generator(ctx), ctx.input("diffusion").json("summary.json")
            return generator, generator.validation_source.annotations.classes, summary.get("segment_names", [])
        if guidance.needs_weak:
            raise ConfigError("guidance", "one that needs no earlier snapshot", type(guidance).__name__)
        model = load_imported(ctx, ctx.config["weights"], self.size or IMPORTED_SIZE)
        model = replace(model, tiling=tiling_of(ctx.config))
        classes = [str(i) for i in range(class_count(model.conditioner))]
        return Generator(model, Guided(guidance), Source(0, Annotations(classes=tuple(classes)))), classes, []

    def _check_weak(self, ctx: Context, weights: str, snapshot: str | int) -> None:
        """Raise ConfigError unless these weights are of an earlier step than those that are sampled."""
        kept = sorted(ctx.input("diffusion").json("summary.json")["snapshots"])
        sampled = kept[-1] if ctx.config["snapshot"] == "last" else int(ctx.config["snapshot"])
        weak = kept[0] if snapshot == "first" else int(snapshot)
        if weak not in kept or (weak, weights) == (sampled, ctx.config["weights"]) or weak > sampled:
            do = "Its training must keep an earlier one (training.snapshots). Or choose guidance=none."
            raise ConfigError("guidance.snapshot", f"an earlier one of {kept} than {sampled}", snapshot, do)

    def _about(self, request: Request, task: Mapping[str, Any], ctx: Context, size: int) -> dict[str, Any]:
        """Everything that decides the pictures: enough for `repeat`, and for a person to know what they are."""
        asked = {key: getattr(request, key) for key in ("class_", "label", "n", "seed")}
        return {
            "keys": dict(self.reference.inputs),
            **{name: self.config[name] for name in ("sampler", "guidance", "samples")},
            "task": dict(task),
            "asked": {**asked, "prompts": list(request.prompts), "boxes": request.boxes},
            "files": request.files(),
            "size": size,
            "runtime": {
                "batch_size": ctx.compute.batch_size,
                "threads": torch.get_num_threads(),
                "device": ctx.compute.device,
            },
            "versions": packages(),
            "git": git_state(),
        }


def class_count(conditioner: Conditioner) -> int:
    """The classes of an imported model's conditioner, 0 where it has none."""
    return conditioner.classes if isinstance(conditioner, ClassLabel) else 0


def sides(conditioner: Conditioner) -> tuple[int | None, int | None]:
    """(side of the pictures that a model enlarges, how many boxes it reads), None where it does not."""
    parts = [part for _, part in conditioner] if isinstance(conditioner, Several) else [conditioner]
    small = next((part.small for part in parts if isinstance(part, LowResolution)), None)
    return small, next((part.max_boxes for part in parts if isinstance(part, Layout)), None)


def _no_features(images: np.ndarray) -> np.ndarray:
    raise ValueError("answers to requests are not measured")
