"""A trained model from the store, with its guidance and the conditions of its samples."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ablatent.conditioning.source import Source, class_index
from ablatent.core.blocks import Blocks
from ablatent.core.instantiate import make
from ablatent.core.progress import Bar
from ablatent.data.base import Annotations
from ablatent.data.tensors import to_images
from ablatent.samplers.guidance import Guidance
from ablatent.samplers.resampled import AnySampler
from ablatent.stages.context import Context, StageInputs
from ablatent.stages.kept_weights import WeightsChoice
from ablatent.stages.models import load_model, source_of
from ablatent.stages.noisy_classifier.load import load_logits
from ablatent.store.identity import Key
from ablatent.tasks.base import Draw
from ablatent.tasks.conditions import conditions, conditions_in_turn, labels_in_turn
from ablatent.tasks.generate import Draws, Guided, Model, OnBatchStep, advancing, generate
from ablatent.tasks.tiles import Tiling


@dataclass(frozen=True)
class Generator:
    """A trained model with its guidance and the conditions of its samples.

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
        """The parts of a source that the samples are conditioned on, by the conditioner or by a classifier."""
        return frozenset(self.model.conditioner.needs) | ({"labels"} if self.guided.classifier is not None else set())

    @property
    def max_conditions(self) -> int | None:
        """The number of distinct conditions that `source` gives; None without any."""
        if self.prompts is not None:
            return len(self.prompts)
        if self.needs == {"labels"}:
            return len(self.validation_source.annotations.classes)
        return self.validation_source.n if self.needs else None

    def source(self, indices: Sequence[int]) -> Source:
        """The conditions of the samples of these indices, a row an index. Raises ConfigError for a prompt that names no
        class of a model of classes."""
        if self.prompts is not None and "labels" in self.needs:
            classes = self.validation_source.annotations.classes
            named = [class_index(p, classes, "samples.prompts") for p in self.prompts]
            labels = np.array([named[i % len(named)] for i in indices], dtype=np.int64)
            return Source(len(labels), Annotations(labels, classes))
        if self.prompts is not None:
            captions = [self.prompts[i % len(self.prompts)] for i in indices]
            return Source(len(captions), Annotations(captions=captions))
        if self.guided.classifier is not None and not self.model.conditioner.needs:
            return labels_in_turn(indices, self.validation_source.annotations.classes)
        return conditions_in_turn(self.model.conditioner, indices, self.validation_source)

    def __call__(
        self, sampler: AnySampler, draws: Draws, source: Source | None = None, on_step: OnBatchStep | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (noise or noised images, x_0), latents (b, c, h, w), see `generate`. source: the conditions of the
        samples, a row an index; None for `source` of the indices."""
        source = self.source(draws.indices) if source is None else source
        fields = conditions(self.model.conditioner, source, draws.seed, draws.indices)
        if self.guided.classifier is not None:
            fields["label"] = np.asarray(source.part("labels"))
        return generate(self.model, sampler, self.guided, draws, fields, on_step)

    def drawing(
        self, seed: int, batch_size: int, bar: Bar, blocks: Callable[[str], Blocks] = lambda name: Blocks()
    ) -> Draw:
        """The `Draw` of a task's context.

        batch_size: samples at once; bar: advanced by the images of each step; blocks: name of a drawing → what is
        finished of it; drawings are named in the order of their calls. One that is watched is drawn from the start,
        since what watches may keep what it sees.
        """
        numbers = itertools.count()

        def draw(
            x: Tensor,
            index: Sequence[int],
            used: AnySampler,
            watch: OnBatchStep | None = None,
            source: Source | None = None,
            noised: bool = False,
        ) -> np.ndarray:
            kept = Blocks() if watch is not None else blocks(f"drawing-{next(numbers)}")
            bar.skip(kept.done * used.steps)
            draws = Draws(seed, index, batch_size, x, kept.done, noised)
            for _, z in self(used, draws, source, advancing(bar, watch)):
                kept.add(len(z), images=to_images(self.model.decode(z)))
            return kept["images"]

        return draw


def tiling_of(config: Mapping[str, Any]) -> Tiling | None:
    """The tiling of decoding, by decode_tile and decode_overlap of a samples node; None for none."""
    return None if config["decode_tile"] is None else Tiling(config["decode_tile"], config["decode_overlap"])


def validation_source(ctx: Context, needs: Sequence[str]) -> Source | None:
    """Validation images with their annotations, of a stage that takes its conditions from them; None for others.

    needs: the parts of a source that the conditioner reads.
    """
    digests = ctx.stage.digests
    if "annotations" not in digests and not ("images" in digests and "pixels" in needs):
        return None
    images = ctx.images()
    return source_of(ctx, images).rows(images.indices("validation"))


def load_generator(
    inputs: StageInputs,
    options: Mapping[str, Any],
    validation: Callable[[Sequence[str]], Source | None] = lambda needs: None,
) -> Generator:
    """The generator of a trained model.

    inputs: roles diffusion, latents, first_stage and, where guidance needs it, noisy_classifier; options: weights,
    snapshot, ema_width, guidance, decode_tile, decode_overlap, prompts; validation: needs of the conditioner →
    validation images with annotations, or None. Raises ConfigError for weights that were not kept.
    """
    guidance = make(options["guidance"], Guidance)
    model = load_model(inputs, WeightsChoice.of(options))
    model = replace(model, tiling=tiling_of(options))
    source = validation(model.conditioner.needs)
    return generator_of(inputs, model, guidance, source, options.get("prompts"))


def generator_of(
    inputs: StageInputs,
    model: Model,
    guidance: Guidance,
    source: Source | None = None,
    prompts: Sequence[str] | None = None,
) -> Generator:
    """The generator of a model that is loaded, with what its guidance needs. source: see `validation_source` of
    `Generator`; None for the names of the classes alone."""
    classifier, named_by = None, inputs.open("diffusion")
    if guidance.needs_classifier:
        named_by = inputs.open("noisy_classifier")
        classifier = load_logits(named_by, model.first_stage.latent_channels, model.device)
    if source is None:
        source = Source(0, Annotations(classes=tuple(named_by.json("summary.json")["class_names"])))
    return Generator(model, Guided(guidance, _weak(inputs, guidance, model), classifier), source, prompts)


def _weak(inputs: StageInputs, guidance: Guidance, model: Model) -> Model | None:
    """The weaker model that the guidance needs: the same training at another snapshot, or another one."""
    if guidance.weak is None:
        return None
    weights, snapshot, ema_width, key = guidance.weak
    trained = inputs if key is None else replace(inputs, keys={**inputs.keys, "diffusion": Key(key)})
    weak = load_model(trained, WeightsChoice(weights, snapshot, ema_width, "guidance"))
    return replace(weak, first_stage=model.first_stage)
