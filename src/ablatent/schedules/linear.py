"""The linear schedule of DDPM."""

import numpy as np
from jaxtyping import Float64

from ablatent.core.errors import ConfigError
from ablatent.schedules.base import Times, check_steps_of_time, is_real
from ablatent.schedules.discrete import DiscreteSchedule, FirstBeta, LastBeta, ZeroTerminalSnr


def check_betas(beta_start: float, beta_end: float) -> None:
    """0 < beta_start <= beta_end < 1, or ConfigError."""
    if not (is_real(beta_start) and 0 < beta_start < 1):
        raise ConfigError("schedule.beta_start", "a number above 0 and below 1", beta_start)
    if not (is_real(beta_end) and beta_start <= beta_end < 1):
        raise ConfigError("schedule.beta_end", f"a number from beta_start ({beta_start:g}) to below 1", beta_end)


def linear_betas(T: int, beta_start: float, beta_end: float) -> Float64[np.ndarray, " T"]:
    """T betas at equal distances from beta_start to beta_end, both included."""
    return np.linspace(beta_start, beta_end, T, dtype=np.float64)


class Linear(DiscreteSchedule):
    """Betas linear in t (Ho et al. 2020, section 4: 1e-4 to 0.02 for T = 1000). LDM's own code calls it "sqrt_linear".

    The betas are taken as given for any T: fewer steps with the same betas leave more signal at the end.
    """

    def __init__(
        self,
        T: Times,
        beta_start: FirstBeta,
        beta_end: LastBeta,
        zero_terminal_snr: ZeroTerminalSnr,
    ):
        check_betas(beta_start, beta_end)
        super().__init__(linear_betas(check_steps_of_time(T), beta_start, beta_end), zero_terminal_snr)
