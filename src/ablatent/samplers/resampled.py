"""Going back and forth between two noise levels (Lugmayr et al. 2022, "RePaint", section 4.2)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, NoiseFn, OnStep, Sampler, nodes_of
from ablatent.schedules.base import NoiseSchedule


@dataclass(frozen=True)
class Resampled:
    """Each step of a sampler made `repeats` times, with noise added in between up to the level it came from.

    Called as a sampler is. What `on_step` puts into the state has then time to agree with the rest. Methods of several
    steps start anew at each interval, that is with their first order.
    """

    inner: Sampler
    repeats: int

    @staticmethod
    def of(inner: Sampler, repeats: int) -> "AnySampler":
        """`inner` itself where nothing is repeated."""
        return inner if repeats == 1 else Resampled(inner, repeats)

    @property
    def steps(self) -> int:
        """Steps of an image: each repetition counts as one."""
        return self.inner.steps * self.repeats

    def check(self, schedule: NoiseSchedule) -> None:
        """Raise ConfigError where the sampler cannot run on this schedule."""
        self.inner.check(schedule)

    def initial_state(self, schedule: NoiseSchedule, eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What a call starts from, of eps ~ N(0, I)."""
        return self.inner.initial_state(schedule, eps)

    @torch.no_grad()
    def __call__(
        self,
        denoise: DenoiseFn,
        schedule: NoiseSchedule,
        x: Float[Tensor, "b c h w"],
        noise: NoiseFn,
        on_step: OnStep | None = None,
        times: Float64[np.ndarray, " S1"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """As `Sampler.__call__`. on_step is called after each repetition, which counts as a step of its own; noise is
        drawn twice as often: for the steps, and for the ways back."""
        if times is None:
            self.check(schedule)
            times = self.inner.times(schedule)
        k = 0
        for t, s in pairwise(times.tolist()):
            for repeat in range(self.repeats):
                if repeat:
                    x = self._back(schedule, x, s, t, noise(2 * k - 1).to(x))

                def again(i: int, at: float, x_s: Tensor, p: Prediction, k: int = k) -> Tensor:
                    return x_s if on_step is None else on_step(k, at, x_s, p)

                def fresh(i: int, k: int = k) -> Tensor:
                    return noise(2 * k)

                x = self.inner(denoise, schedule, x, fresh, again, np.array([t, s]))
                k += 1
        return x

    def _back(self, schedule: NoiseSchedule, x: Tensor, s: float, t: float, eps: Tensor) -> Tensor:
        """q(x_t | x_s) for t > s: the signal shrinks by alpha_t / alpha_s, the rest of sigma_t comes anew."""
        low, high = nodes_of(schedule, np.array([s, t]))
        ratio = high.alpha / low.alpha
        return ratio * x + max(high.sigma**2 - (ratio * low.sigma) ** 2, 0.0) ** 0.5 * eps


AnySampler = Sampler | Resampled
"""What samples are drawn by."""
