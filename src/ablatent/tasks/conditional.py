"""What a conditional model makes of conditions: classes, texts, layouts, maps, small pictures (Rombach et al. 2022,
sections 4.3 and 4.4). One task, and a YAML for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8

from ablatent.conditioning.base import Rows
from ablatent.conditioning.source import NAMES, PARTS, Source
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Outcome, Reads, Restored, Task, check_counts, distances
from ablatent.tasks.conditions import conditions, enlarged, made_small
from ablatent.tasks.fill import TRAINED
from ablatent.tasks.generate import prior

SHOWN = 28  # letters of a caption beside its row


@dataclass(frozen=True)
class Conditional(Task):
    """A row of the figure for each condition: the condition as a picture where it is one, samples, the truth.

    reads: what the model must be conditioned on: labels, captions, boxes, segmentation or pixels (small pictures);
    count: conditions, those of validation pictures (classes in turn; samples.prompts are asked for in their place), at
    most as many as there are;
    each: samples of one condition; shown: conditions in the figure; same_noise: sample j of each condition starts from
    the same x_T, so that a column shows what the condition alone changes. Small pictures have one right answer, the
    picture itself: samples are scored against it, beside a bicubic enlargement, and each picture counts once. Always
    measured, as mean feature distances: to the truth and to the truths of other rows, where they are known; between
    samples of one condition and of different ones, where there are several of each.
    """

    reads: str
    count: int = 8
    each: int = 4
    shown: int = 8
    same_noise: bool = False

    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.reads not in PARTS:
            raise ConfigError("task.reads", "one of " + ", ".join(PARTS), self.reads, did_you_mean(self.reads, PARTS))
        check_counts(self, count=1, each=1, shown=1)
        if not isinstance(self.same_noise, bool):
            raise ConfigError("task.same_noise", "true or false", self.same_noise)

    @property
    def restores(self) -> bool:
        """Whether there is one right answer."""
        return self.reads == "pixels"

    def check_model(self, reads: Reads, size: int) -> None:
        # a model that fills holes reads pictures too, and more than this task could give
        if not any(self.reads in parts for name, parts in reads.items() if name != TRAINED):
            got = " and ".join(sorted(NAMES[p] for parts in reads.values() for p in parts)) or "no condition"
            raise ConfigError(
                "task",
                f"a task for a model of {got}",
                f"one for a model of {NAMES[self.reads]}",
                f"Choose {CONDITIONERS[self.reads]}, or task=sample.",
            )

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * self.each * sampler.steps

    def draw(self, bench: Bench, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W 3"]:
        return bench.draw(prior(bench.model, bench.seed, index), index, bench.sampler, source=source)

    def run(self, bench: Bench) -> Outcome:
        count = min(self.count, bench.most or self.count)
        source = bench.asked(range(count))
        rows = [k for k in range(count) for _ in range(self.each)]
        index = [j for _ in range(count) for j in range(self.each)] if self.same_noise else range(len(rows))
        given = conditions(bench.model.conditioner, source.rows(rows), bench.seed, index)
        drawn = self.draw(bench, source.rows(rows), index)
        restored = self._restored(bench, drawn, given, source) if self.restores else None
        drawn = rearrange(drawn, "(k e) H W c -> k e H W c", e=self.each)
        pictures = bench.model.conditioner.shown(given)
        parts, columns = [drawn], [f"sample {j}" for j in range(self.each)]
        if pictures is not None:
            parts, columns = [pictures[:: self.each, None], *parts], ["condition", *columns]
        if source.pixels is not None:
            parts, columns = [*parts, np.asarray(source.pixels)[:, None]], [*columns, "truth"]
        figure = rearrange(np.concatenate(parts, axis=1)[: self.shown], "k e H W c -> (k e) H W c")
        names = described(source)[: self.shown]
        note = f"Euclidean distance of features, means over {count} conditions with {self.each} samples each"
        note += ", sample j of each from one x_T" if self.same_noise else ""
        return Outcome(figure, columns, names, self._numbers(bench, drawn, source), note, restored=restored)

    def _restored(self, bench: Bench, drawn: np.ndarray, given: Rows, source: Source) -> Restored:
        truth = np.repeat(np.asarray(source.pixels), self.each, axis=0)
        plain = enlarged(given, (truth.shape[1], truth.shape[2]))
        return Restored(drawn, truth, plain, "bicubic", self.each, made_small(bench.model.conditioner))

    def _numbers(self, bench: Bench, drawn: np.ndarray, source: Source) -> dict[str, float]:
        f = bench.features(rearrange(drawn, "k e H W c -> (k e) H W c"))
        numbers = spread(rearrange(f, "(k e) d -> k e d", e=self.each))
        if source.pixels is not None:
            truth = np.asarray(source.pixels)
            real = np.repeat(bench.features(truth), self.each, axis=0)
            numbers["distance_to_truth"] = float(distances(f, real).mean())
            if len(truth) > 1:
                numbers["distance_to_other_truths"] = float(distances(f, np.roll(real, self.each, axis=0)).mean())
        return numbers


CONDITIONERS = {
    "labels": "conditioner=class with data that has classes",
    "captions": "a conditioner that reads captions",
    "boxes": "a conditioner that reads boxes of objects",
    "segmentation": "a conditioner that reads segmentation maps",
    "pixels": "a conditioner that reads small pictures",
}


def spread(f: Float[np.ndarray, "k e d"]) -> dict[str, float]:
    """Mean feature distance of two samples of one condition, and of samples j of two conditions: equal where the
    condition has no effect, the latter zero if they are of one noise. Each where there are such pairs."""
    x, numbers = torch.from_numpy(f.astype(np.float64)), {}
    if f.shape[1] > 1:
        numbers["distance_within_conditions"] = float(torch.stack([torch.pdist(row) for row in x]).mean())
    if f.shape[0] > 1:
        columns = rearrange(x, "k e d -> e k d")
        numbers["distance_between_conditions"] = float(torch.stack([torch.pdist(column) for column in columns]).mean())
    return numbers


def described(source: Source) -> list[str]:
    """A short name for each row: its caption, its class, or its number."""
    said = source.annotations
    if said.captions is not None:
        return [c if len(c) <= SHOWN else c[: SHOWN - 1] + "…" for c in said.captions]
    if said.labels is not None:
        return [said.classes[int(label)] for label in said.labels]
    return [str(i) for i in range(source.n)]
