"""What a trained model is used for, beyond plain samples: each task ends in images, a figure and some numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.data.base import Annotations
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.conditions import conditions
from ablatent.tasks.generate import Model

Draw = Callable[..., UInt8[np.ndarray, "n H W 3"]]
"""(initial states, sample indices, sampler, watch=None, source=None) -> images. The index of a row decides
its step noise and its condition, unless source gives the conditions, a row an index; watch is called after each step of
each batch (an `OnStep`), batches in the order of the rows."""

Reads = Mapping[str, Sequence[str]]
"""Class name -> the parts of a source that it reads, of a model's conditioner and of its parts."""


def _nothing(indices: Sequence[int]) -> Source:
    return Source(len(indices), Annotations())


@dataclass(frozen=True)
class Bench:
    """What a task works with.

    features: images -> (n, d), of the evaluation's extractor; known: validation pictures and what is known of them, for
    tasks that start from some; asked: what the samples of these indices are conditioned on; hole: what somebody wants
    filled (1), for tasks that fill; most: how many conditions there are, where more would come in turn again.
    """

    model: Model
    sampler: Sampler
    seed: int
    draw: Draw
    features: Callable[[UInt8[np.ndarray, "n H W 3"]], Float[np.ndarray, "n d"]]
    known: Source | None = None
    asked: Callable[[Sequence[int]], Source] = _nothing
    hole: UInt8[np.ndarray, "H W"] | None = None
    most: int | None = None

    def first(self, count: int) -> Source:
        """The first known pictures, at most so many."""
        if self.known is None or self.known.pixels is None:
            raise ValueError("this task is given validation pictures")
        return self.known.rows(np.arange(min(count, self.known.n)))

    def takes_mask(self, source: Source) -> bool:
        """Whether the model's condition has a mask in it."""
        fields = conditions(self.model.conditioner, source.rows([0]), self.seed, [0])
        return any(name.split(".")[-1] == "mask" for name in fields)


@dataclass(frozen=True)
class Restored:
    """Pictures of which it is known what they should be, to be scored: drawn[i] is compared with truth[i].

    baseline: what stands there without a model; baseline_name: ends the names of its scores. each: so many rows, one
    after the other, are of one true picture. lost: what was taken from the true pictures, for the protocol.
    """

    drawn: UInt8[np.ndarray, "n H W 3"]
    truth: UInt8[np.ndarray, "n H W 3"]
    baseline: UInt8[np.ndarray, "n H W 3"]
    baseline_name: str
    each: int = 1
    lost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """images: rows × columns of the figure, row by row; numbers: what the task measured, by name; note: how.

    frames: pictures of an animation, (H2, W2, 3) each, or none; restored: all pictures, of a task that has one right
    answer.
    """

    images: UInt8[np.ndarray, "n H W 3"]
    columns: list[str]
    rows: list[str]
    numbers: dict[str, float] = field(default_factory=dict)
    note: str = ""
    frames: list[UInt8[np.ndarray, "H2 W2 3"]] = field(default_factory=list)
    restored: Restored | None = None


@dataclass(frozen=True)
class Task(ABC):
    """Frozen: its fields are its knobs.

    scored: its images are samples of the model, which FID and the other metrics judge (plain sampling alone);
    needs_images: it starts from images, validation images or those of somebody who asks; draws: it has a `draw`, so
    that do=sample can use it; fills: it takes a mask.
    """

    scored: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    fills: ClassVar[bool] = False

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        """Raise ConfigError for what the sampler cannot do on this schedule; for planning."""
        sampler.check(schedule)

    def check_model(self, reads: Reads, size: int) -> None:  # noqa: B027 - most tasks take any model
        """Raise ConfigError for a model whose condition is not what the task is about, or for pictures of this side
        that it cannot use; for planning."""

    def canvas(self, size: int) -> tuple[int, int]:
        """(height, width) in pixels of what it draws with a model of square pictures of this side."""
        return size, size

    def draw(self, bench: Bench, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W 3"]:
        """One picture for each row of the source, without figure and numbers; index: of the samples, a row each."""
        raise ConfigError("task", "a task that answers a request", type(self).__name__, "It is for do=run.")

    def steps_each(self, sampler: Sampler) -> int:
        """Steps of an image of `draw`, for the progress bar."""
        return sampler.steps

    @abstractmethod
    def image_steps(self, sampler: Sampler) -> int:
        """Images times sampler steps, for the progress bar."""

    @abstractmethod
    def run(self, bench: Bench) -> Outcome:
        """Do it."""


def check_counts(task: Task, **least: int) -> None:
    """Raise ConfigError for a field that is no integer of at least so much."""
    for name, fewest in least.items():
        value = getattr(task, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < fewest:
            raise ConfigError(f"task.{name}", f"an integer of at least {fewest}", value)


def refuse_maps(reads: Reads) -> None:
    """Raise ConfigError where the condition is a map of the trained size; for tasks that draw on a larger canvas."""
    maps = [name for name, parts in reads.items() if {"segmentation", "pixels"} & set(parts)]
    if maps:
        do = "Choose conditioner=none, class, layout, or one that reads captions."
        raise ConfigError("task", "a model without conditions of the trained size, for a larger canvas", maps, do)


def distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "#n d"]) -> Float[np.ndarray, " n"]:
    """Euclidean, row by row."""
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1))
