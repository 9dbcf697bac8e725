"""Options that break an invariant, as those of a user beside conf/."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ablatent.conditioning.base import Rows
from ablatent.conditioning.class_label import ClassLabel
from ablatent.conditioning.source import Source
from ablatent.core.types import Prediction
from ablatent.samplers.base import SolverState
from ablatent.samplers.ddim import DDIM
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.schedules.linear import Linear


@dataclass(frozen=True)
class OneMore(DDIM):
    """A sampler that makes the last step twice."""

    def __call__(self, denoise: Any, schedule: Any, x: Tensor, noise: Any, on_step: Any = None, times: Any = None):  # type: ignore[no-untyped-def]
        times = self.times(schedule) if times is None else times
        longer = np.insert(times, len(times) - 1, times[-2] / 2)
        return super().__call__(denoise, schedule, x, noise, on_step, longer)


@dataclass(frozen=True)
class Mixing(DDIM):
    """A sampler whose samples depend on each other."""

    def step(self, state: SolverState, i: int, x: Tensor) -> tuple[Tensor, Prediction]:
        x, prediction = super().step(state, i, x)
        return x - 0.1 * x.mean(dim=0, keepdim=True), prediction


@dataclass(frozen=True)
class Dividing(DDIM):
    """A sampler with a mistake of Python's kind."""

    def step(self, state: SolverState, i: int, x: Tensor) -> tuple[Tensor, Prediction]:
        return x / (1 // i if i > 1000 else 0 // 0), super().step(state, i, x)[1]


class Peeking(ClassLabel):
    """A conditioner that looks at the images, which its `needs` does not declare."""

    needs = ("labels",)

    def rows(self, source: Source) -> Rows:
        assert source.pixels is not None
        return super().rows(source)


class Rising(DiscreteSchedule):
    """A schedule whose signal comes back in the middle."""

    def __init__(self, T: int, beta_start: float, beta_end: float, zero_terminal_snr: bool):
        super().__init__(Linear(T, beta_start, beta_end, False).betas.numpy(), zero_terminal_snr)
        if not self.alphas_cumprod.is_meta:
            self.alphas_cumprod[T // 2] = self.alphas_cumprod[T // 2 - 2]
