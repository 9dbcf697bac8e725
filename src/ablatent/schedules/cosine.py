"""The cosine schedule of Improved DDPM."""

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt

from ablatent.core.errors import ConfigError
from ablatent.core.fields import NotNegative
from ablatent.schedules.base import Times, check_steps_of_time, is_real
from ablatent.schedules.discrete import DiscreteSchedule, ZeroTerminalSnr


class Cosine(DiscreteSchedule):
    """alpha_bar(u) = cos²((u + s) / (1 + s) · pi / 2), u = t / T (Nichol & Dhariwal 2021, eq. 17).

    s: offset that keeps the first betas from vanishing; max_beta: betas are clipped there, since the last would be 1.
    """

    def __init__(
        self,
        T: Times,
        s: Annotated[NotNegative, "offset of Nichol and Dhariwal 2021, eq. 17"],
        max_beta: Annotated[float, Gt(0), Lt(1), "largest variance of a step"],
        zero_terminal_snr: ZeroTerminalSnr,
    ):
        check_steps_of_time(T)
        if not (is_real(s) and s >= 0):
            raise ConfigError("schedule.s", "a number of at least 0", s)
        if not (is_real(max_beta) and 0 < max_beta < 1):
            raise ConfigError("schedule.max_beta", "a number above 0 and below 1", max_beta)
        u = np.arange(T + 1, dtype=np.float64) / T
        alpha_bar = np.cos((u + s) / (1.0 + s) * np.pi / 2) ** 2
        super().__init__(np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], max_beta), zero_terminal_snr)
