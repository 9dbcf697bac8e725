"""DPM-Solver++, the two-step (multistep) method of second order."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState


def extrapolated(state: SolverState, i: int, x0: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The x_0 that step i goes by: that of node i and the one before, extrapolated in half log-SNR to the middle.

    In the first step, after zero SNR and towards the clean state it is x0 itself: there the step is of first order.
    """
    t, s = state.nodes[i], state.nodes[i + 1]
    if i == 0 or s.sigma == 0:
        return x0
    before = t.half_log_snr - state.nodes[i - 1].half_log_snr  # infinite after zero SNR
    ratio = 0.0 if math.isinf(before) else (s.half_log_snr - t.half_log_snr) / before
    return x0 + 0.5 * ratio * (x0 - state.predictions[-1].x0)


def two_step(
    state: SolverState, i: int, x: Float[Tensor, "b c h w"], x0: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """The state at node i + 1 from x at node i, whose estimate of x_0 is x0."""
    t, s = state.nodes[i], state.nodes[i + 1]
    shrink = s.sigma / t.sigma
    return shrink * x + (s.alpha - t.alpha * shrink) * extrapolated(state, i, x0)


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M), deterministic (Lu et al. 2022, "DPM-Solver++", algorithm 2): one denoiser call a step.

    x_s = sigma_s / sigma_t x_t + (alpha_s - alpha_t sigma_s / sigma_t) D, with D the estimate of x_0 extrapolated in
    half log-SNR from the last two. The first step and the last, to the clean state, are of first order.
    """

    order: ClassVar[int] = 2

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        prediction = state.predict(x, state.nodes[i])
        return two_step(state, i, x, prediction.x0), prediction
