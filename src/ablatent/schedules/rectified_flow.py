"""Rectified flow: straight lines from the data to noise."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Positive
from ablatent.schedules.base import Times, is_real
from ablatent.schedules.continuous import ContinuousSchedule


class RectifiedFlow(ContinuousSchedule):
    """alpha = 1 - s, sigma = s (Liu et al. 2022), with s = shift u / (1 + (shift - 1) u) and u = (t + 1) / T.

    shift: 1 spreads the times evenly over s; above, more of them are noisy, for larger images: sqrt(m / n) for m pixels
    in place of n (Esser et al. 2024, "Scaling Rectified Flow Transformers", eq. 23). It moves times of training and of
    sampling alike. At T-1 there is no signal, which excludes the eps parameterization.
    """

    variance_preserving: ClassVar[bool] = False
    ends_in_noise: ClassVar[bool] = True

    def __init__(
        self,
        T: Times,
        shift: Annotated[Positive, "above 1: more of the times are noisy (Esser et al. 2024, eq. 23)"],
    ):
        if not (is_real(shift) and shift > 0):
            raise ConfigError("schedule.shift", "a number above 0 (1: none)", shift)
        super().__init__(T)
        self.shift = float(shift)

    def _levels(self, t: Float64[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        noise, signal = self.shift * (t + 1.0) / self.T, (self.T - 1.0 - t) / self.T
        return signal / (noise + signal), noise / (noise + signal)

    def t_of_log_snr(self, log_snr: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
        half = 0.5 * log_snr.to(torch.float64)
        alpha, sigma = torch.sigmoid(half), torch.sigmoid(-half)
        return (sigma / (sigma + self.shift * alpha) * self.T - 1.0).clamp(max=self.T - 1.0)
