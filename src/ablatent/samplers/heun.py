"""Heun's second-order method on the probability flow ODE."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState
from ablatent.samplers.grids import ENDS


@dataclass(frozen=True)
class Heun(Sampler):
    """d(x / alpha) / d(sigma / alpha) = eps, by the trapezoidal rule (Karras et al. 2022, algorithm 1, without churn).

    Two denoiser calls a step, one in a last step to the clean state, where eps is undefined: 2S - 1.
    sigma / alpha is infinite at zero SNR, so a grid that starts there is refused.
    """

    order: ClassVar[int] = 2
    refuses_zero_snr: ClassVar[str] = "Heun's method integrates over sigma / alpha, which is infinite there."

    def nfe(self, steps: int | None = None) -> int:
        return 2 * super().nfe(steps) - (self.grid not in ENDS)

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        euler = s.alpha * prediction.x0 + s.sigma * prediction.eps
        if s.sigma == 0:
            return euler, prediction
        half = 0.5 * (s.sigma - s.alpha * t.sigma / t.alpha)
        return euler + half * (state.predict(euler, s).eps - prediction.eps), prediction
