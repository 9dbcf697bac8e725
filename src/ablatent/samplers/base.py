"""What all samplers share: knobs, checks, the loop over the time grid. A sampler itself is one `step`.

A step computes its coefficients as Python floats, that is in float64, and touches images only to combine them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Le
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, OneOf, Positive
from ablatent.core.types import Prediction
from ablatent.samplers.grids import ENDS, GRIDS, check_grid, time_grid
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
    """A time of the grid and its noise level. variance_preserving: whether alpha² + sigma² = 1 on its schedule."""

    t: float
    alpha: float
    sigma: float
    variance_preserving: bool = True

    @property
    def variance(self) -> float:
        """Of x_t for data of unit variance: alpha² + sigma², without rounding where it is 1 on the whole schedule."""
        return 1.0 if self.variance_preserving else self.alpha**2 + self.sigma**2

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma): +inf at the clean state, -inf at zero SNR."""
        if self.sigma == 0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0 else -math.inf


def nodes_of(schedule: NoiseSchedule, times: Float64[np.ndarray, " S1"]) -> list[Node]:
    """The node of each time, integer or real."""
    alpha, sigma = schedule.alpha_sigma(torch.from_numpy(np.ascontiguousarray(times, dtype=np.float64)))
    rows = zip(times.tolist(), alpha.tolist(), sigma.tolist(), strict=True)
    return [Node(*row, schedule.variance_preserving) for row in rows]


def initial_state(node: Node, eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """x at a sampler's first node from eps ~ N(0, I): of the deviation that x_t has there for data of unit variance.

    sqrt(alpha² + sigma²) eps: eps itself on variance-preserving schedules, whatever `start` is, and from pure noise on
    a rectified flow; on EDM's sqrt(1 + sigma_max²) eps, the deviation of x_t, of which sigma_max eps (Karras et al.
    2022, algorithm 1) leaves out the data's.
    """
    return eps if node.variance == 1.0 else math.sqrt(node.variance) * eps


def at_time(denoise: DenoiseFn, x: Float[Tensor, "b c h w"], node: Node) -> Prediction:
    """What the denoiser says of a batch whose rows are all at one node."""
    return denoise(x, torch.full((x.shape[0],), node.t, dtype=torch.float64, device=x.device))


@dataclass
class SolverState:
    """One call of a sampler: its inputs, its nodes, and what it has predicted so far (for multi-step methods).

    schedule: for methods that also visit times between the nodes. predictions: those made at the nodes before this
    one, the newest last, at most `Sampler.keep` of them.
    """

    schedule: NoiseSchedule
    nodes: list[Node]
    predict: Callable[[Tensor, Node], Prediction]
    noise: Callable[[int, Tensor], Tensor]
    predictions: list[Prediction] = field(default_factory=list)


@dataclass(frozen=True)
class Sampler(ABC):
    """From noise to x_0 along a time grid. Frozen: its fields are its knobs and nothing else.

    steps: number of intervals S, from 1 to T; grid: trailing | leading | compvis | linspace | uniform | quadratic |
    log_snr | karras (see `grids`); start: share of the T times that is sampled, in (0, 1], from noise in any case (1:
    all, 0.8: the noisiest fifth is skipped; see `initial_state`).
    clip_x0: clamp each estimate of x_0 to [-clip_x0, clip_x0], or null; dynamic_threshold: clamp and scale it by a
    percentile of itself (see `threshold`), or null. After either, eps is taken anew from x_0. Both belong to pixel
    space, where 1.0 is the range of images; latents have no such range.
    """

    steps: Annotated[Count, "intervals of the time grid, up to schedule.T"]
    grid: Annotated[str, OneOf(GRIDS), "how the times are spread, see docs/samplers.md"] = "trailing"
    start: Annotated[float, Gt(0), Le(1), "share of the times that is sampled: 1 all, 0.8 skips the noisiest fifth"] = (
        1.0
    )
    clip_x0: Annotated[
        Positive | None, "clamp estimates of x_0 to [-clip_x0, clip_x0]; for pixels, where 1 is the range"
    ] = None
    dynamic_threshold: Annotated[
        Annotated[float, Gt(0), Le(1)] | None,
        "percentile of the size of x_0 to which estimates are clamped and scaled (Saharia et al. 2022); for pixels",
    ] = None

    order: ClassVar[int]
    """The global order of convergence as S grows: of the error against the exact solution of the probability flow
    ODE, or, where `stochastic`, of the error of mean and variance."""

    calls: ClassVar[int] = 1
    """Denoiser calls of a step; a last step to the clean state has one in any case."""

    keep: ClassVar[int] = 1
    """How many of the newest predictions a step looks at; older ones are let go."""

    refuses_zero_snr: ClassVar[str] = ""
    """Why it cannot start where alpha = 0, as a sentence; empty if it can."""

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ConfigError("sampler.steps", "an integer from 1 to schedule.T", self.steps)
        check_grid(self.grid)
        if not (is_real(self.start) and 0 < self.start <= 1):
            raise ConfigError("sampler.start", "a number above 0 and up to 1", self.start)
        if self.clip_x0 is not None and not (is_real(self.clip_x0) and self.clip_x0 > 0):
            raise ConfigError("sampler.clip_x0", "a number above 0, or null", self.clip_x0)
        percentile = self.dynamic_threshold
        if percentile is not None and not (is_real(percentile) and 0 < percentile <= 1):
            raise ConfigError("sampler.dynamic_threshold", "a share above 0 and up to 1, or null", percentile)
        if percentile is not None and self.clip_x0 is not None:
            raise ConfigError("sampler.dynamic_threshold", "null beside sampler.clip_x0", percentile, "Choose one.")

    @property
    def stochastic(self) -> bool:
        """Whether it asks for noise after x_T."""
        return False

    @property
    def needs_variance(self) -> bool:
        """Whether it reads `Prediction.variance_fraction`, so that the network must have been trained to give it."""
        return False

    def check(self, schedule: NoiseSchedule) -> None:
        """Everything that depends on the schedule: raises ConfigError if this sampler cannot run on it."""
        self._check_first(nodes_of(schedule, self.times(schedule))[0])

    def times(self, schedule: NoiseSchedule) -> Float64[np.ndarray, " S1"]:
        """The S times that a call visits, and where its last step ends: at the clean state, but for grid=compvis."""
        return time_grid(self.grid, schedule, self.steps, self.start)

    def initial_state(self, schedule: NoiseSchedule, eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What a call starts from, of eps ~ N(0, I): see the function `initial_state`."""
        return initial_state(nodes_of(schedule, self.times(schedule)[:1])[0], eps)

    def nfe(self, steps: int | None = None) -> int:
        """Number of denoiser calls for that many steps (its own if None). Guidance may double the cost of each."""
        steps = self.steps if steps is None else steps
        return self.calls * steps - (self.calls - 1) * (self.grid not in ENDS)

    @abstractmethod
    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        """From state.nodes[i] to state.nodes[i + 1]: the new state, and the prediction made at node i."""

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
        """x: the initial state (see `initial_state`) or a noised image, float32 or float64; the result has its dtype.

        times: descending times instead of those of the grid, normally ending with CLEAN.
        """
        if x.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{type(self).__name__}: expected x in float32 or float64; got {x.dtype}")
        if times is None:
            self.check(schedule)
            times = self.times(schedule)
        elif not bool(np.all(np.diff(times) < 0)):
            raise ValueError(f"{type(self).__name__}: expected strictly descending times; got {times!r}")
        nodes = nodes_of(schedule, times)
        self._check_first(nodes[0])
        state = SolverState(schedule, nodes, self._predictor(denoise), lambda i, like: noise(i).to(like))
        for i in range(len(nodes) - 1):
            dtype = x.dtype
            x, prediction = self.step(state, i, x)
            state.predictions = [*state.predictions, prediction][-self.keep :]
            if on_step is not None:
                x = on_step(i, nodes[i + 1].t, x, prediction)
            x = x.to(dtype)
        return x

    def _check_first(self, node: Node) -> None:
        """ConfigError if sampling cannot start at this node."""
        if node.alpha == 0 and self.refuses_zero_snr:
            raise ConfigError(
                "sampler",
                "a sampler that can start at zero SNR",
                type(self).__name__,
                f"{self.refuses_zero_snr} Use sampler=ddim, dpm_solver or flow_heun, sampler.start=0.99, or"
                " a schedule that ends with some signal (where it has the key, schedule.zero_terminal_snr=false).",
            )

    def _predictor(self, denoise: DenoiseFn) -> Callable[[Tensor, Node], Prediction]:
        def predict(x: Tensor, node: Node) -> Prediction:
            prediction = at_time(denoise, x, node)
            if self.clip_x0 is not None:
                x0 = prediction.x0.clamp(-self.clip_x0, self.clip_x0)
            elif self.dynamic_threshold is not None:
                x0 = threshold(prediction.x0, self.dynamic_threshold)
            else:
                return prediction
            return Prediction(x0, (x - node.alpha * x0) / node.sigma, prediction.variance_fraction)

        return predict


def threshold(x0: Float[Tensor, "b c h w"], percentile: float) -> Float[Tensor, "b c h w"]:
    """x0 clamped to [-s, s] and divided by s: s is the percentile of |x0| within each sample, but at least 1.

    Dynamic thresholding (Saharia et al. 2022, "Imagen", section 2.3). percentile: in (0, 1], interpolated linearly.
    """
    # sorted by hand: torch.quantile refuses batches of more than 16 million numbers
    ordered = rearrange(x0.abs(), "b c h w -> b (c h w)").sort(dim=1).values
    place = percentile * (ordered.shape[1] - 1)
    low = math.floor(place)
    high = min(low + 1, ordered.shape[1] - 1)
    s = torch.lerp(ordered[:, low], ordered[:, high], place - low).clamp(min=1.0)
    s = rearrange(s, "b -> b 1 1 1")
    return x0.clamp(-s, s) / s
