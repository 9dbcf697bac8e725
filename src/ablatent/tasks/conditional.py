"""Samples of a conditional model: of classes, texts, layouts, maps (Rombach et al. 2022, section 4.3).

One task, and a YAML for each annotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8

from ablatent.conditioning.base import Rows
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Count, Text
from ablatent.core.images import as_rgb
from ablatent.data.annotation_kinds import BUILT_IN, IMAGES, annotation_kind, titles
from ablatent.data.counts import class_title
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Condition, FigureTask, Restoration, TaskContext, TaskResult, check_counts, distances
from ablatent.tasks.conditions import conditions
from ablatent.tasks.generate import prior

SHOWN = 28  # letters of a caption beside its row


@dataclass(frozen=True)
class Conditional(FigureTask):
    """A row of the figure for each condition: the condition as an image where it is one, samples, the truth.

    reads: the annotation that the model must be conditioned on: labels, captions, boxes, segmentation, or the name of
    another one; count: conditions, those of validation images (classes in turn; samples.prompts in their place), at
    most as many as there are; samples_per_image: samples of one condition; shown: conditions in the figure; same_noise:
    sample j of each condition starts from the same x_T, so that a column shows what the condition alone changes. Always
    measured, as mean feature distances: to the truth and to the truths of other rows, where there are some; between
    samples of one condition and of different ones, where there are several of each.
    """

    reads: Annotated[Text, "the annotation that the model must read"]
    count: Annotated[Count, "conditions"] = 8
    samples_per_image: Annotated[Count, "samples of each condition"] = 4
    shown: Annotated[Count, "conditions in the figure"] = 8
    same_noise: Annotated[bool, "sample j of each condition starts from the same x_T"] = False

    draws: ClassVar[bool] = True
    conditions_from: ClassVar[str] = "validation"

    def __post_init__(self) -> None:
        self.check_reads()
        check_counts(self, count=1, samples_per_image=1, shown=1)
        if not isinstance(self.same_noise, bool):
            raise ConfigError("task.same_noise", "true or false", self.same_noise)

    def check_reads(self) -> None:
        """Raise ConfigError unless `reads` names an annotation."""
        if not isinstance(self.reads, str) or self.reads == IMAGES.name:
            do = "Small images that are enlarged: task=super_resolution."
            raise ConfigError("task.reads", "the name of an annotation, such as captions", self.reads, do)

    def check_model(self, condition: Condition, size: int) -> None:
        # a model that fills holes reads images too, and more than this task could give
        if not any(self.reads in part.needs for part in condition if not part.fills):
            needs = [need for part in condition for need in part.needs]
            title = annotation_kind(self.reads).title
            do = f"Choose a conditioner that reads {title}, or task=sample."
            if self.reads not in BUILT_IN:
                do = did_you_mean(self.reads, [*needs, *BUILT_IN]) or do
            key = "task" if self.reads in BUILT_IN else "task.reads"
            expected = f"a task for a model of {titles(needs) or 'no condition'}"
            raise ConfigError(key, expected, f"one for a model of {title}", do)

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * self.samples_per_image * sampler.steps

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        return context.draw(prior(context.model, context.seed, index), index, context.sampler, source=source)

    def run(self, context: TaskContext) -> TaskResult:
        count, per_image = min(self.count, context.max_conditions or self.count), self.samples_per_image
        source = context.conditions_of(range(count))
        rows = [k for k in range(count) for _ in range(per_image)]
        index = [j for _ in range(count) for j in range(per_image)] if self.same_noise else range(len(rows))
        given = conditions(context.model.conditioner, source.rows(rows), context.seed, index)
        drawn = self.draw(context, source.rows(rows), index)
        restoration = self.restoration(context, drawn, given, source)
        drawn = rearrange(drawn, "(k e) H W c -> k e H W c", e=per_image)
        shown = context.model.conditioner.shown(given)
        parts, columns = [drawn], [f"sample {j}" for j in range(per_image)]
        if shown is not None:
            parts, columns = [shown[::per_image, None], *parts], ["condition", *columns]
        if source.pixels is not None:
            parts, columns = [*parts, np.asarray(source.pixels)[:, None]], [*columns, "truth"]
        table = np.concatenate([as_rgb(part) for part in parts], axis=1)  # the condition may have colours
        figure = rearrange(table[: self.shown], "k e H W c -> (k e) H W c")
        note = f"Euclidean distance of features, means over {count} conditions with {per_image} samples each"
        note += ", sample j of each from one x_T" if self.same_noise else ""
        return TaskResult(
            images=figure,
            columns=columns,
            rows=described(source)[: self.shown],
            scores=self._scores(context, drawn, source),
            note=note,
            restoration=restoration,
        )

    def restoration(self, context: TaskContext, drawn: np.ndarray, given: Rows, source: Source) -> Restoration | None:
        """The samples beside their ground truth, of a condition that has one; None for others."""
        return None

    def _scores(self, context: TaskContext, drawn: np.ndarray, source: Source) -> dict[str, float]:
        f = context.features(rearrange(drawn, "k e H W c -> (k e) H W c"))
        scores = spread(rearrange(f, "(k e) d -> k e d", e=self.samples_per_image))
        if source.pixels is not None:
            truth = np.asarray(source.pixels)
            real = np.repeat(context.features(truth), self.samples_per_image, axis=0)
            scores["distance_to_truth"] = float(distances(f, real).mean())
            if len(truth) > 1:
                other = np.roll(real, self.samples_per_image, axis=0)
                scores["distance_to_other_truths"] = float(distances(f, other).mean())
        return scores


def spread(f: Float[np.ndarray, "k e d"]) -> dict[str, float]:
    """Mean feature distance of two samples of one condition, and of samples j of two conditions.

    f: of k conditions with e samples each. The two are equal where the condition has no effect, the latter zero if they
    are of one noise. Each is there where there are such pairs.
    """
    x, scores = torch.from_numpy(f.astype(np.float64)), {}
    if f.shape[1] > 1:
        scores["distance_within_conditions"] = float(torch.stack([torch.pdist(row) for row in x]).mean())
    if f.shape[0] > 1:
        columns = rearrange(x, "k e d -> e k d")
        scores["distance_between_conditions"] = float(torch.stack([torch.pdist(column) for column in columns]).mean())
    return scores


def described(source: Source) -> list[str]:
    """A short name for each row: its caption, its class by number and name, its other annotations, or its number."""
    annotations = source.annotations
    if annotations.captions is not None:
        return [c if len(c) <= SHOWN else c[: SHOWN - 1] + "…" for c in annotations.captions]
    if annotations.labels is not None:
        return [class_title(int(label), annotations.classes) for label in annotations.labels]
    single = {name: values for name, values in annotations.extra.items() if np.ndim(values) == 1}
    if single:
        return [", ".join(f"{name} {values[i]:g}" for name, values in single.items()) for i in range(source.n)]
    return [str(i) for i in range(source.n)]
