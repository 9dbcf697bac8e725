"""A schedule whose betas follow a sigmoid."""

from typing import Annotated

import numpy as np

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Positive
from ablatent.schedules.base import Times, check_steps_of_time, is_real
from ablatent.schedules.discrete import DiscreteSchedule, FirstBeta, LastBeta, ZeroTerminalSnr
from ablatent.schedules.linear import check_betas


class Sigmoid(DiscreteSchedule):
    """beta_t = beta_start + (beta_end - beta_start) · sigmoid(u), u at equal distances from -width to width.

    GeoDiff's schedule (Xu et al. 2022, released code; also diffusers' "sigmoid", both with width 6): a sigmoid in beta.
    Another schedule of that name, a sigmoid in alpha_bar (Jabri et al. 2022, "Scalable Adaptive Computation"), is not
    this one. The betas come within sigmoid(-width) of their ends, not to them.
    """

    def __init__(
        self,
        T: Times,
        beta_start: FirstBeta,
        beta_end: LastBeta,
        width: Annotated[Positive, "the sigmoid is taken from -width to width"],
        zero_terminal_snr: ZeroTerminalSnr,
    ):
        check_betas(beta_start, beta_end)
        if not (is_real(width) and width > 0):
            raise ConfigError("schedule.width", "a number above 0 (GeoDiff: 6)", width)
        u = np.linspace(-width, width, check_steps_of_time(T), dtype=np.float64)
        super().__init__(beta_start + (beta_end - beta_start) / (1.0 + np.exp(-u)), zero_terminal_snr)
