"""Going back and forth between two noise levels (Lugmayr et al. 2022, "RePaint", section 4.2)."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, NoiseFn, OnStep, Run, Sampler, nodes_of
from ablatent.schedules.base import NoiseSchedule


@dataclass(frozen=True)
class Resampled(Sampler):
    """Each step of another sampler made `repeats` times, with noise added in between up to the level it came from.

    What `on_step` puts into the state has then time to agree with the rest. Methods of several steps start anew at each
    interval, that is with their first order. Made by `of`; the fields of the base are those of `inner`.
    """

    inner: Sampler = field(kw_only=True)
    repeats: int = field(kw_only=True)

    @staticmethod
    def of(inner: Sampler, repeats: int) -> Sampler:
        """`inner` itself where nothing is repeated."""
        if repeats == 1:
            return inner
        knobs = (inner.steps, inner.grid, inner.start, inner.clip_x0, inner.dynamic_threshold)
        return Resampled(*knobs, inner=inner, repeats=repeats)

    def check(self, schedule: NoiseSchedule) -> None:
        self.inner.check(schedule)

    def times(self, schedule: NoiseSchedule) -> Float64[np.ndarray, " S1"]:
        return self.inner.times(schedule)

    def nfe(self, steps: int | None = None) -> int:
        return self.inner.nfe(steps) * self.repeats

    def step(self, run: Run, i: int, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        return self.inner.step(run, i, x)

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
        """As the base's. on_step is called after each repetition, which counts as a step of its own; noise is asked for
        twice as many numbers: for the steps, and for the ways back."""
        if times is None:
            self.check(schedule)
            times = self.times(schedule)
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
