"""UniPC: a predictor and a corrector that costs no denoiser call."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState
from ablatent.samplers.dpm_solver import two_step


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC-2 with B_2(h) on x_0 (Zhao et al. 2023, algorithms 1 and 2): one denoiser call a step.

    The predictor of this order is DPM-Solver++(2M). Once x_0 is estimated at the state that it reached, the corrector
    moves that state, and the next step starts from there; the estimate is not made anew. Predictor and corrector start
    from the same state, so the move is a combination of estimates alone: what an on_step has done to x_t stays.
    The last state, to which no estimate is made, is not corrected.
    """

    order: ClassVar[int] = 2
    keep: ClassVar[int] = 2

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        prediction = state.predict(x, state.nodes[i])
        if i > 0:
            x = x + self._correction(state, i, prediction.x0)
        return two_step(state, i, x, prediction.x0), prediction

    def _correction(self, state: SolverState, i: int, x0: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """UniC minus UniP at node i, from its estimate x0 and the one or two before."""
        s, t = state.nodes[i - 1], state.nodes[i]
        gain = t.alpha - s.alpha * t.sigma / s.sigma  # -alpha_t B_2(h)
        change = x0 - state.predictions[-1].x0
        if i == 1:
            return 0.5 * gain * change
        # The weights solve rho_1 + rho_2 = b_1, rho_1 / r + rho_2 = b_2 (algorithm 1). r is 0 after zero SNR.
        h = t.half_log_snr - s.half_log_snr
        b1 = -1.0 / h - 1.0 / math.expm1(-h)
        b2 = -2.0 * b1 / h - 1.0 / math.expm1(-h)
        r = -h / (s.half_log_snr - state.nodes[i - 2].half_log_snr)
        rho1 = (b1 - b2) * r / (r - 1.0)
        slope = r * (state.predictions[-2].x0 - state.predictions[-1].x0)
        return gain * ((rho1 - 0.5) * slope + (b1 - rho1) * change)
