"""The noise levels of EDM: noise is added, the data keep their scale."""

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Positive
from ablatent.schedules.base import Times, is_real
from ablatent.schedules.continuous import ContinuousSchedule


class EDM(ContinuousSchedule):
    """alpha = 1, sigma from sigma_min at t = 0 to sigma_max at T-1, log(sigma) linear in t (Karras et al. 2022).

    The time that a network sees is thus the paper's c_noise = log(sigma) / 4 on another scale. Below t = 0 sigma is
    linear in t. The first state of a sampler has the deviation of x_{T-1}, not 1. With parameterization=edm, whose
    network sees inputs and has outputs of unit variance; times as in the paper by timestep_sampler=lognormal_sigma,
    steps by sampler.grid=karras.
    """

    variance_preserving: ClassVar[bool] = False

    def __init__(
        self,
        T: Times,
        sigma_min: Annotated[Positive, "noise at t = 0"],
        sigma_max: Annotated[Positive, "noise at T-1, above sigma_min"],
    ):
        if not (is_real(sigma_min) and sigma_min > 0):
            raise ConfigError("schedule.sigma_min", "a number above 0 (the paper: 0.002)", sigma_min)
        if not (is_real(sigma_max) and sigma_max > sigma_min):
            raise ConfigError(
                "schedule.sigma_max", f"a number above sigma_min ({sigma_min:g}; the paper: 80)", sigma_max
            )
        super().__init__(T)
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def _levels(self, t: Float64[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        grown = self.sigma_min * torch.exp(t.clamp(min=0.0) * self._rate)
        sigma = torch.where(t < 0, self.sigma_min * (t + 1.0), grown)
        return torch.ones_like(sigma), sigma

    def t_of_log_snr(self, log_snr: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
        sigma = torch.exp(-0.5 * log_snr.to(torch.float64))
        above = torch.log(sigma / self.sigma_min) / self._rate
        return torch.where(sigma < self.sigma_min, sigma / self.sigma_min - 1.0, above.clamp(max=self.T - 1.0))

    @property
    def _rate(self) -> float:
        """d log sigma / d t."""
        return math.log(self.sigma_max / self.sigma_min) / (self.T - 1)
