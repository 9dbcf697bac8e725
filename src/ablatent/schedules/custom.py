"""A schedule whose betas are listed one by one."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Gt, Len, Lt

from ablatent.core.errors import ConfigError
from ablatent.schedules.base import is_real
from ablatent.schedules.discrete import DiscreteSchedule, ZeroTerminalSnr


class Custom(DiscreteSchedule):
    """The T betas as they are listed; T is their number. For published models whose schedule has no formula."""

    def __init__(
        self,
        betas: Annotated[Sequence[Annotated[float, Gt(0), Lt(1)]], Len(2), "variance of each step"],
        zero_terminal_snr: ZeroTerminalSnr,
    ):
        if isinstance(betas, str) or not isinstance(betas, Sequence) or not betas:
            raise ConfigError("schedule.betas", "a list of numbers such as [0.1, 0.2, 0.3]", betas)
        if wrong := [b for b in betas if not (is_real(b) and 0 < b < 1)]:
            raise ConfigError("schedule.betas", "numbers above 0 and below 1", wrong[:5])
        super().__init__(np.asarray(betas, dtype=np.float64), zero_terminal_snr)
