"""What a trained model is used for, beyond plain samples: each task ends in images, a figure and some numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ablatent.conditioning.source import Source
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.generate import Model

Draw = Callable[..., UInt8[np.ndarray, "n H W 3"]]
"""(initial states, sample indices, sampler, watch=None, source=None) -> images. The index of a row decides its step
noise and its condition, unless source gives the conditions, a row an index; watch is called after each step of each
batch (an `OnStep`)."""


@dataclass(frozen=True)
class Bench:
    """What a task works with. features: images -> (n, d), of the evaluation's extractor; known: validation pictures and
    what is known of them, for tasks that start from some."""

    model: Model
    sampler: Sampler
    seed: int
    draw: Draw
    features: Callable[[UInt8[np.ndarray, "n H W 3"]], Float[np.ndarray, "n d"]]
    known: Source | None = None


@dataclass(frozen=True)
class Outcome:
    """images: rows × columns of the figure, row by row; numbers: what the task measured, by name; note: how.

    frames: pictures of an animation, (H2, W2, 3) each, or none.
    """

    images: UInt8[np.ndarray, "n H W 3"]
    columns: list[str]
    rows: list[str]
    numbers: dict[str, float] = field(default_factory=dict)
    note: str = ""
    frames: list[UInt8[np.ndarray, "H2 W2 3"]] = field(default_factory=list)


@dataclass(frozen=True)
class Task(ABC):
    """Frozen: its fields are its knobs.

    scored: its images are samples of the model, which FID and the other metrics judge (plain sampling alone);
    needs_images: it starts from validation images.
    """

    scored: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        """Raise ConfigError for what the sampler cannot do on this schedule; for planning."""
        sampler.check(schedule)

    @abstractmethod
    def image_steps(self, sampler: Sampler) -> int:
        """Images times sampler steps, for the progress bar."""

    @abstractmethod
    def run(self, bench: Bench) -> Outcome:
        """Do it."""


def distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Euclidean, row by row."""
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1))
