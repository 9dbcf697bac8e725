"""Heun's second-order method on the probability flow ODE."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.base import Run, Sampler
from ablatent.schedules.base import NoiseSchedule


@dataclass(frozen=True)
class Heun(Sampler):
    """d(x / alpha) / d(sigma / alpha) = eps, by the trapezoidal rule (Karras et al. 2022, algorithm 1, without churn).

    Two denoiser calls a step, one in the last (to the clean state, where eps is undefined): 2S - 1.
    sigma / alpha is infinite at zero SNR, so a grid that starts there is refused.
    """

    order: ClassVar[int] = 2

    def check(self, schedule: NoiseSchedule) -> None:
        super().check(schedule)
        if schedule.terminal_snr == 0 and self.times(schedule)[0] == schedule.T - 1:
            raise ConfigError(
                "sampler",
                "a sampler that can start at zero SNR",
                "heun",
                "Heun's method integrates over sigma / alpha, which is infinite there. Use sampler=ddim or dpm_solver,"
                " sampler.start=0.99, or schedule.zero_terminal_snr=false.",
            )

    def nfe(self, steps: int | None = None) -> int:
        return 2 * super().nfe(steps) - 1

    def step(self, run: Run, i: int, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = run.nodes[i], run.nodes[i + 1]
        prediction = run.predict(x, t)
        euler = s.alpha * prediction.x0 + s.sigma * prediction.eps
        if s.sigma == 0:
            return euler, prediction
        half = 0.5 * (s.sigma - s.alpha * t.sigma / t.alpha)
        return euler + half * (run.predict(euler, s).eps - prediction.eps), prediction
