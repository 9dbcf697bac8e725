"""samples: a trained model and a sampler → images."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.conditioning.source import Source, class_index
from ablatent.core.files import write_json
from ablatent.core.images import grid, save_png
from ablatent.core.progress import Bar, track
from ablatent.data.base import Annotations
from ablatent.samplers.base import OnStep, Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.samplers.resampled import AnySampler
from ablatent.stages.context import Context
from ablatent.stages.models import load_model, source_of
from ablatent.stages.noisy_classifier.build import load_logits
from ablatent.stages.objects import make
from ablatent.tasks.base import Draw
from ablatent.tasks.conditions import asked, conditions, labels_in_turn
from ablatent.tasks.generate import Draws, Guided, Model, advancing, generate
from ablatent.tasks.tiles import Tiling
from ablatent.training.first_stage import to_images


@torch.no_grad()
def build(ctx: Context) -> None:
    """images.npy and prior.npy (decoded x_T), (n, H, W, 3) uint8; grid.png; summary.json; files of the conditions."""
    config, size = ctx.config, ctx.compute.batch_size
    sampler: Sampler = make(config["sampler"])
    count, seed = int(config["count"]), int(config["seed"])
    generator = load_generator(ctx)
    model, guidance, source = generator.model, generator.guided.guidance, generator.source(range(count))
    images, priors = [], []
    start = time.monotonic()
    with track(ctx.title, count * sampler.steps, "image steps") as bar:
        for x_T, z in generator(sampler, Draws(seed, range(count), size), source, advancing(bar)):
            images.append(to_images(model.decode(z)))
            priors.append(to_images(model.decode(x_T)))
    spent = time.monotonic() - start
    drawn = np.concatenate(images)
    np.save(ctx.work.files / "images.npy", drawn)
    np.save(ctx.work.files / "prior.npy", np.concatenate(priors))
    save_png(ctx.work.files / "grid.png", grid(drawn[:64], columns=8, scale=2), {"stage": ctx.stage.key})
    _write_conditions(ctx, model, source)
    write_json(
        ctx.work.files / "summary.json",
        {
            "count": count,
            "nfe": sampler.nfe(),
            "network_rows": guidance.network_rows(),
            "classifier_gradients": sampler.nfe() if guidance.needs_classifier else 0,
            "seconds": round(spent, 3),
            "images_per_second": round(count / spent, 3),
            "labels": None if source.annotations.labels is None else source.annotations.labels.tolist(),
            "captions": source.annotations.captions,
            "seed": seed,
            "latent_shape": list(model.latent_shape),
            "batch_size": size,
            "threads": torch.get_num_threads(),
        },
    )


def _write_conditions(ctx: Context, model: Model, source: Source) -> None:
    """conditions.json: the boxes of objects that the samples should show, a row a sample, null without any (labels and
    captions are in the summary); conditions_segmentation.npy where the condition is a map of pixels."""
    write_json(ctx.work.files / "conditions.json", {"boxes": source.annotations.boxes})
    if "segmentation" in model.conditioner.needs:
        np.save(ctx.work.files / "conditions_segmentation.npy", np.asarray(source.part("segmentation")))


@dataclass(frozen=True)
class Generator:
    """A trained model, what steers it, and what its samples are conditioned on.

    validation_source: validation images and their annotations, as far as the condition reads them; of a model of
    classes, or of the classifier that guides it, the names of the classes alone. prompts: captions, or names of
    classes, that are the conditions in place of those of the validation images.
    """

    model: Model
    guided: Guided
    validation_source: Source
    prompts: Sequence[str] | None = None

    @property
    def needs(self) -> frozenset[str]:
        """The parts of a source that the samples are conditioned on, also by a classifier."""
        return frozenset(self.model.conditioner.needs) | ({"labels"} if self.guided.classifier is not None else set())

    @property
    def max_conditions(self) -> int | None:
        """How many conditions `source` gives before they come again; None without any."""
        if self.prompts is not None:
            return len(self.prompts)
        if self.needs == {"labels"}:
            return len(self.validation_source.annotations.classes)
        return self.validation_source.n if self.needs else None

    def source(self, indices: Sequence[int]) -> Source:
        """What the samples of these indices are conditioned on, a row an index."""
        if self.prompts is not None and "labels" in self.needs:
            classes = self.validation_source.annotations.classes
            chosen = [class_index(p, classes, "samples.prompts") for p in self.prompts]
            labels = np.array([chosen[i % len(chosen)] for i in indices], dtype=np.int64)
            return Source(len(labels), Annotations(labels, classes))
        if self.prompts is not None:
            captions = [self.prompts[i % len(self.prompts)] for i in indices]
            return Source(len(captions), Annotations(captions=captions))
        if self.guided.classifier is not None and not self.model.conditioner.needs:
            return labels_in_turn(indices, self.validation_source.annotations.classes)
        return asked(self.model.conditioner, indices, self.validation_source)

    def __call__(
        self, sampler: AnySampler, draws: Draws, source: Source | None = None, on_step: OnStep | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (initial state, x_0), see `generate`. source: what the samples are conditioned on, a row an index;
        None for `source` of the indices."""
        source = self.source(draws.indices) if source is None else source
        fields = conditions(self.model.conditioner, source, draws.seed, draws.indices)
        if self.guided.classifier is not None:
            fields["label"] = np.asarray(source.part("labels"))
        return generate(self.model, sampler, self.guided, draws, fields, on_step)

    def drawing(self, seed: int, batch_size: int, bar: Bar) -> Draw:
        """The `draw` of a task's context. batch_size: samples at once; bar: advanced by images, at each of their
        steps."""

        def draw(
            x: Tensor,
            index: Sequence[int],
            used: AnySampler,
            watch: OnStep | None = None,
            source: Source | None = None,
        ) -> np.ndarray:
            parts = self(used, Draws(seed, index, batch_size, x), source, advancing(bar, watch))
            return np.concatenate([to_images(self.model.decode(z)) for _, z in parts])

        return draw


def tiling_of(config: Mapping[str, Any]) -> Tiling | None:
    """The tiling of decoding by decode_tile and decode_overlap of a samples node; None where decode_tile is null."""
    return None if config["decode_tile"] is None else Tiling(config["decode_tile"], config["decode_overlap"])


def load_generator(ctx: Context) -> Generator:
    """The generator of a samples or task stage, with its weights, snapshot, guidance and tiling, from the inputs
    diffusion, latents, first_stage and, where guidance asks for it, classifier."""
    config, guidance = ctx.config, make(ctx.config["guidance"])
    model = replace(load_model(ctx, config["weights"], config["snapshot"]), tiling=tiling_of(config))
    classifier = None
    class_names = ctx.input("diffusion").json("summary.json")["class_names"]
    if guidance.needs_classifier:
        channels = model.first_stage.latent_channels
        classifier = load_logits(ctx.input("classifier"), channels, model.device)
        class_names = ctx.input("classifier").json("summary.json")["class_names"]
    source = Source(0, Annotations(classes=tuple(class_names)))
    digests = ctx.stage.digests
    if "annotations" in digests or ("images" in digests and "pixels" in model.conditioner.needs):  # more than a class
        images = ctx.images()
        source = source_of(ctx, images).rows(images.indices("validation"))
    return Generator(model, Guided(guidance, _weak(ctx, guidance, model), classifier), source, config.get("prompts"))


def _weak(ctx: Context, guidance: Guidance, model: Model) -> Model | None:
    """The weaker model that the guidance asks for: the same training at another snapshot."""
    if guidance.weak is None:
        return None
    weights, snapshot = guidance.weak
    if snapshot == "first":
        snapshot = min(ctx.input("diffusion").json("summary.json")["snapshots"])
    return replace(load_model(ctx, weights, snapshot), first_stage=model.first_stage)
