"""What a trained model is used for, beyond plain samples: each task ends in images, a figure and scores of its own."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Real, UInt8

from ablatent.conditioning.base import ConditionInfo
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.data.base import Annotations
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.conditions import conditions
from ablatent.tasks.generate import Model

Draw = Callable[..., UInt8[np.ndarray, "n H W C"]]
"""(noise (n, c, h, w), sample indices, sampler, watch=None, source=None, noised=False) -> images.

The index of a row decides its step noise and its condition, unless source gives the conditions, a row an index; watch
is called after each step of each batch (an `OnBatchStep`). noised: what comes in the place of noise are noised images,
at the sampler's first time."""

Condition = Sequence[ConditionInfo]
"""What each part of a model's condition reads; empty for an unconditional model."""


def _no_conditions(indices: Sequence[int]) -> Source:
    return Source(len(indices), Annotations())


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """The inputs of a task.

    draw: see `Draw`; features: images -> (n, d), of the evaluation's extractor; validation_source: validation images
    and their annotations, for tasks that start from some; conditions_of: what the samples of these indices are
    conditioned on; mask: of a request, 1 = fill, 0 = keep, for tasks that fill; max_conditions: number of distinct
    conditions, None for any number.
    """

    model: Model
    sampler: Sampler
    seed: int
    draw: Draw
    features: Callable[[UInt8[np.ndarray, "n H W C"]], Float[np.ndarray, "n d"]]
    validation_source: Source | None = None
    conditions_of: Callable[[Sequence[int]], Source] = _no_conditions
    mask: Real[np.ndarray, "H W"] | None = None
    max_conditions: int | None = None

    def first(self, count: int) -> Source:
        """The first validation images, at most so many. Raises ValueError for a context without any."""
        if self.validation_source is None or self.validation_source.pixels is None:
            raise ValueError("this task needs validation images")
        return self.validation_source.rows(np.arange(min(count, self.validation_source.n)))

    def takes_mask(self, source: Source) -> bool:
        """Whether the model's condition has a mask in it."""
        fields = conditions(self.model.conditioner, source.rows([0]), self.seed, [0])
        return any(name.split(".")[-1] == "mask" for name in fields)


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """Restored images with their ground truth, to be scored: restored[i] is compared with truth[i].

    baseline: a restoration without a model; baseline_name, baseline_label: suffixes of the names and the labels of its
    scores. samples_per_image: consecutive rows that restore one true image. degradation: how the true images were
    degraded, for the protocol.
    """

    restored: UInt8[np.ndarray, "n H W C"]
    truth: UInt8[np.ndarray, "n H W C"]
    baseline: UInt8[np.ndarray, "n H W C"]
    baseline_name: str
    baseline_label: str
    samples_per_image: int = 1
    degradation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The result of a task.

    images: rows × columns of the figure, row by row; columns, rows: their titles; scores: what the task measured, by
    name; note: how it was measured; frames: images of an animation, (H2, W2, 3) each, or none; restoration: all images,
    of a task that has one right answer.
    """

    images: UInt8[np.ndarray, "n H W C"]
    columns: list[str]
    rows: list[str]
    scores: dict[str, float] = field(default_factory=dict)
    note: str = ""
    frames: list[UInt8[np.ndarray, "H2 W2 C"]] = field(default_factory=list)
    restoration: Restoration | None = None


@dataclass(frozen=True)
class Task:
    """What a job ends in. Frozen: its fields are its options.

    Declared, as literals that planning reads from the source: uses_model: there is a diffusion model (not in a job that
    ends at its first stage); scored: its images are samples of the model, which FID and the other metrics judge, so
    that the job ends in the stages samples and scores; restores: its result has a `Restoration`; conditions_from:
    "validation" where all its samples take the conditions of validation images, "classes" where models of classes alone
    take classes in turn; needs_images: it starts from images, of the validation split or of a request; draws: it has
    a `draw`, so that do=sample can use it; fills: it takes a mask; start_key: the key that decides where sampling
    starts in place of sampler.start, None where that does. displays: name of a score → label, better, shown_in of its
    `evaluation.scores.Score`, where a report shows more of it than its name.
    """

    uses_model: ClassVar[bool] = True
    scored: ClassVar[bool] = False
    restores: ClassVar[bool] = False
    conditions_from: ClassVar[str] = "classes"
    needs_images: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    fills: ClassVar[bool] = False
    start_key: ClassVar[str | None] = None
    displays: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def samplers(self, sampler: Sampler) -> Sequence[Sampler]:
        """Those that it draws with: the configured one, unless it has steps or a start of its own."""
        return (sampler,)

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        """Raise ConfigError for what the sampler cannot do on this schedule; for planning."""
        sampler.check(schedule)

    def check_model(self, condition: Condition, size: int) -> None:
        """Raise ConfigError for a model whose condition the task has no use for, or for images of this side that it
        cannot use; for planning. size: side in pixels."""

    def canvas(self, size: int) -> tuple[int, int]:
        """(height, width) in pixels of the images that it draws with a model of square images of this side."""
        return size, size

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        """One image for each row of the source, without figure and scores; index: of the samples, one a row.

        Raises ConfigError for a task that answers no requests.
        """
        raise ConfigError("task", "a task that answers a request", type(self).__name__, "It is for do=run.")

    def steps_each(self, sampler: Sampler) -> int:
        """Sampler steps of an image of `draw`, for the progress bar."""
        return sampler.steps


@dataclass(frozen=True)
class FigureTask(Task):
    """A task that ends in a figure and scores of its own: the stage `task` runs it."""

    @abstractmethod
    def image_steps(self, sampler: Sampler) -> int:
        """Images times sampler steps, for the progress bar."""

    @abstractmethod
    def run(self, context: TaskContext) -> TaskResult:
        """Draw the images of the figure with the context's model, and measure them."""


def check_counts(task: Task, **least: int) -> None:
    """Raise ConfigError unless each named field of the task is an integer of at least the given value."""
    for name, minimum in least.items():
        value = getattr(task, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ConfigError(f"task.{name}", f"an integer of at least {minimum}", value)


def refuse_maps(condition: Condition) -> None:
    """Raise ConfigError where the condition is a map of the trained size; for tasks that draw on a larger canvas."""
    maps = [part.name for part in condition if {"segmentation", "pixels"} & set(part.needs)]
    if maps:
        do = "Choose conditioner=none, class, layout, or one that reads captions."
        raise ConfigError("task", "a model without conditions of the trained size, for a larger canvas", maps, do)


def distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "#n d"]) -> Float[np.ndarray, " n"]:
    """Euclidean distances of features, row by row, in float64."""
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1))
