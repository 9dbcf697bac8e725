"""Heun's second-order method on the probability flow ODE, with EDM's churn."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import NotNegative, Positive
from ablatent.core.types import Prediction
from ablatent.samplers.base import Node, Sampler, SolverState, nodes_of
from ablatent.schedules.base import is_real

MAX_GAIN = math.sqrt(2.0) - 1.0
"""Of the noise level by churn in one step: noise of no more than the state's own is added (Karras et al. 2022)."""


@dataclass(frozen=True)
class Heun(Sampler):
    """d(x / alpha) / d(sigma / alpha) = eps, by the trapezoidal rule (Karras et al. 2022, algorithms 1 and 2).

    Two denoiser calls a step, one in a last step to the clean state, where eps is undefined: 2S - 1.
    sigma / alpha is infinite at zero SNR, so a grid that starts there is refused.

    s_churn: 0 is the deterministic algorithm 1. Above, each step whose sigma / alpha lies in [s_tmin, s_tmax] first
    adds noise, of deviation s_noise, that raises sigma / alpha by the factor 1 + min(s_churn / S, sqrt(2) - 1), S being
    `steps` with any grid, but not
    above that of T-1, the noisiest that a model knows; so a step from there adds none.
    """

    s_churn: Annotated[NotNegative, "noise added on the way, over all steps; 0: none, deterministic"] = 0.0
    s_tmin: Annotated[NotNegative, "smallest sigma / alpha at which s_churn adds noise"] = 0.0
    s_tmax: Annotated[Positive | None, "largest sigma / alpha at which s_churn adds noise; null: any"] = None
    s_noise: Annotated[Positive, "deviation of the noise of s_churn; Karras et al. 2022: 1 to 1.007"] = 1.0

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2
    refuses_zero_snr: ClassVar[str] = "Heun's method integrates over sigma / alpha, which is infinite there."
    neutral: ClassVar[dict[str, float | None]] = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": None, "s_noise": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("s_churn", "s_tmin"):
            value = getattr(self, name)
            if not (is_real(value) and value >= 0):
                raise ConfigError(f"sampler.{name}", "a number of at least 0", value)
        if self.s_tmax is not None and not (is_real(self.s_tmax) and self.s_tmax > self.s_tmin):
            raise ConfigError(
                "sampler.s_tmax", f"a number above sampler.s_tmin ({self.s_tmin:g}), or null", self.s_tmax
            )
        if not (is_real(self.s_noise) and self.s_noise > 0):
            raise ConfigError("sampler.s_noise", "a number above 0", self.s_noise)
        for name, value in self.neutral.items():
            if self.s_churn == 0 and getattr(self, name) != value:
                expected = f"{'null' if value is None else value} with sampler.s_churn=0, which adds no noise"
                raise ConfigError(f"sampler.{name}", expected, getattr(self, name))

    @property
    def stochastic(self) -> bool:
        return self.s_churn > 0

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        if self.s_churn > 0:
            x, t = self._churned(state, i, x)
        prediction = state.predict(x, t)
        euler = s.alpha * prediction.x0 + s.sigma * prediction.eps
        if s.sigma == 0:
            return euler, prediction
        half = 0.5 * (s.sigma - s.alpha * t.sigma / t.alpha)
        return euler + half * (state.predict(euler, s).eps - prediction.eps), prediction

    def _churned(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Node]:
        """x and the node of step i with its noise added; as they are where it adds none."""
        t = state.nodes[i]
        level = t.sigma / t.alpha
        if not self.s_tmin <= level <= (math.inf if self.s_tmax is None else self.s_tmax):
            return x, t
        raised = level * (1.0 + min(self.s_churn / self.steps, MAX_GAIN))
        time = state.schedule.t_of_log_snr(torch.tensor([-2.0 * math.log(raised)], dtype=torch.float64))
        (node,) = nodes_of(state.schedule, time.cpu().numpy())
        if node.t <= t.t:
            return x, t
        added = math.sqrt((node.sigma / node.alpha) ** 2 - level**2)
        return node.alpha * (x / t.alpha + self.s_noise * added * state.noise(i, x)), node
