"""What all samplers share: knobs, checks, the loop over the time grid. A sampler itself is one `step`.

A step computes its coefficients as Python floats, that is in float64, and touches images only to combine them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.grids import check_grid, time_grid
from ablatent.schedules.base import NoiseSchedule, is_real

DenoiseFn = Callable[[Tensor, Tensor], Prediction]
"""(x_t (b, c, h, w), t (b,) float64) -> Prediction. The condition and the guidance are already inside."""

NoiseFn = Callable[[int], Tensor]
"""i -> N(0, 1) noise of step i for the whole batch. Made by the caller, so that it can depend on the sample's index."""

OnStep = Callable[[int, float, Tensor, Prediction], Tensor]
"""(i, t, x_t, prediction) -> x_t: called after step i with the state it reached, the time of that state (CLEAN after
the last step) and the prediction the step was made from. What it returns is where sampling goes on."""


@dataclass(frozen=True)
class Node:
    """A time of the grid and its noise level."""

    t: float
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma): +inf at the clean state, -inf at zero SNR."""
        if self.sigma == 0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0 else -math.inf


@dataclass
class Run:
    """One call of a sampler: its nodes, its inputs, and what it has predicted so far (for multi-step methods)."""

    nodes: list[Node]
    predict: Callable[[Tensor, Node], Prediction]
    noise: Callable[[int, Tensor], Tensor]
    predictions: list[Prediction] = field(default_factory=list)


@dataclass(frozen=True)
class Sampler(ABC):
    """From noise to x_0 along a time grid. Frozen: its fields are its knobs and nothing else.

    steps: number of intervals S, from 1 to T; grid: trailing | leading | linspace (see `grids`);
    start: share of the T times that is sampled, in (0, 1], from N(0, I) in any case (1: all, 0.8: the noisiest fifth
    is skipped); clip_x0: clamp each estimate of x_0 to [-clip_x0, clip_x0] and take eps anew from it, or null.
    Clipping belongs to pixel space, where 1.0 is the range of images; latents have no such range.
    """

    steps: int
    grid: str = "trailing"
    start: float = 1.0
    clip_x0: float | None = None

    order: ClassVar[int]
    """The global order of convergence towards the exact solution as S grows (1 for the stochastic ones)."""

    keep: ClassVar[int] = 1
    """How many of the newest predictions a step looks at; older ones are let go."""

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ConfigError("sampler.steps", "an integer from 1 to schedule.T", self.steps)
        check_grid(self.grid)
        if not (is_real(self.start) and 0 < self.start <= 1):
            raise ConfigError("sampler.start", "a number above 0 and up to 1", self.start)
        if self.clip_x0 is not None and not (is_real(self.clip_x0) and self.clip_x0 > 0):
            raise ConfigError("sampler.clip_x0", "a number above 0, or null", self.clip_x0)

    def check(self, schedule: NoiseSchedule) -> None:
        """Everything that depends on the schedule: raises ConfigError if this sampler cannot run on it."""
        self.times(schedule)

    def times(self, schedule: NoiseSchedule) -> Float64[np.ndarray, "S1"]:
        """The S times and the clean state that a call visits."""
        return time_grid(self.grid, schedule.T, self.steps, self.start)

    def nfe(self, steps: int | None = None) -> int:
        """Number of denoiser calls for that many steps (its own if None). Guidance may double the cost of each."""
        return self.steps if steps is None else steps

    @abstractmethod
    def step(self, run: Run, i: int, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        """From run.nodes[i] to run.nodes[i + 1]: the new state, and the prediction made at node i."""

    @torch.no_grad()
    def __call__(
        self,
        denoise: DenoiseFn,
        schedule: NoiseSchedule,
        x: Float[Tensor, "b c h w"],
        noise: NoiseFn,
        on_step: OnStep | None = None,
        times: Float64[np.ndarray, "S1"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """x: the initial state, N(0, 1) noise or a noised image, float32 or float64; the result has its dtype.

        times: descending times instead of those of the grid, normally ending with CLEAN.
        """
        if x.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{type(self).__name__}: expected x in float32 or float64; got {x.dtype}")
        if times is None:
            self.check(schedule)
            times = self.times(schedule)
        elif not bool(np.all(np.diff(times) < 0)):
            raise ValueError(f"{type(self).__name__}: expected strictly descending times; got {times!r}")
        run = Run(self._nodes(schedule, times), self._predictor(denoise), lambda i, like: noise(i).to(like))
        for i in range(len(run.nodes) - 1):
            dtype = x.dtype
            x, prediction = self.step(run, i, x)
            run.predictions = [*run.predictions, prediction][-self.keep :]
            if on_step is not None:
                x = on_step(i, run.nodes[i + 1].t, x, prediction)
            x = x.to(dtype)
        return x

    def _nodes(self, schedule: NoiseSchedule, times: Float64[np.ndarray, "S1"]) -> list[Node]:
        alpha, sigma = schedule.alpha_sigma(torch.from_numpy(np.ascontiguousarray(times, dtype=np.float64)))
        return [Node(*row) for row in zip(times.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]

    def _predictor(self, denoise: DenoiseFn) -> Callable[[Tensor, Node], Prediction]:
        def predict(x: Tensor, node: Node) -> Prediction:
            t = torch.full((x.shape[0],), node.t, dtype=torch.float64, device=x.device)
            prediction = denoise(x, t)
            if self.clip_x0 is None:
                return prediction
            x0 = prediction.x0.clamp(-self.clip_x0, self.clip_x0)
            return Prediction(x0, (x - node.alpha * x0) / node.sigma, prediction.log_variance)

        return predict
