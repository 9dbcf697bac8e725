"""DPM-Solver++, the three-step (multistep) method of third order."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState
from ablatent.samplers.dpm_solver import two_step


@dataclass(frozen=True)
class DPMSolver3(Sampler):
    """DPM-Solver++(3M), deterministic (Lu et al. 2022, "DPM-Solver++"): one denoiser call a step.

    x_s = sigma_s (x_t / sigma_t + integral of e^lambda x_0 d lambda), lambda = log(alpha / sigma), exact for the
    parabola in lambda through the last three estimates of x_0. The first step and the last, to the clean state, are of
    first order, the second, and the second after zero SNR, those of DPM-Solver++(2M).

    released: with half the second difference, as the authors' released code and diffusers have it: the integral is then
    not that of the parabola, and the method is of second order.
    """

    released: Annotated[
        bool, "true: the second difference halved, as in the released code, which is of second order"
    ] = False

    order: ClassVar[int] = 3
    keep: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.released, bool):
            raise ConfigError("sampler.released", "true or false", self.released)

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        prediction = state.predict(x, state.nodes[i])
        x = two_step(state, i, x, prediction.x0)
        s = state.nodes[i + 1]
        if i > 1 and s.sigma > 0 and not math.isinf(state.nodes[i - 2].half_log_snr):
            x = x + self._third_order(state, i, prediction.x0)
        return x, prediction

    def _third_order(self, state: SolverState, i: int, x0: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What the parabola through three estimates adds to the step of DPM-Solver++(2M)."""
        c, b, a, s = state.nodes[i - 2 : i + 2]
        h, r, q = (n.half_log_snr - m.half_log_snr for m, n in ((a, s), (b, a), (c, b)))  # this step, the ones before
        before, oldest = state.predictions[-1].x0, state.predictions[-2].x0
        slope, older = (x0 - before) * (h / r), (before - oldest) * (h / q)
        bend = (slope - older) * (h / (r + q))
        first = s.alpha * (math.expm1(-h) / h + 1.0)
        second = s.alpha * (0.5 - (math.expm1(-h) + h) / h**2) * (1.0 if self.released else 2.0)
        gain = s.alpha - a.alpha * s.sigma / a.sigma
        return first * (slope + (r / h) * bend) + second * bend - 0.5 * gain * slope
