"""DPM-Solver++ on the reverse-time SDE, the two-step method."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState
from ablatent.samplers.dpm_solver import extrapolated


@dataclass(frozen=True)
class DPMSolverSDE(Sampler):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, "DPM-Solver++"): one denoiser call and one noise a step.

    x_s = sigma_s / sigma_t e^-h x_t + alpha_s (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z, with h the step in half
    log-SNR and D as in DPM-Solver++(2M). With D = x_0 this is DDIM with eta = 1, and so the first step and the last
    are; the last adds no noise. The extrapolation makes errors smaller, but first order is all that holds for any data.
    """

    order: ClassVar[int] = 1

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        decay = (t.alpha * s.sigma) / (s.alpha * t.sigma)  # e^-h, without the infinities at the two ends
        fresh = 1.0 - decay**2
        x = (s.sigma / t.sigma * decay) * x + (s.alpha * fresh) * extrapolated(state, i, prediction.x0)
        if s.sigma > 0:
            x = x + s.sigma * math.sqrt(fresh) * state.noise(i, x)
        return x, prediction
