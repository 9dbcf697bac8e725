"""Schedules that do not preserve variance, for tests of samplers: a rectified flow, and the levels of EDM."""

import math

import numpy as np
import torch
from torch import Tensor

from ablatent.schedules.base import NoiseSchedule

T = 1000


class _Formula(NoiseSchedule):
    """Of `_levels` at real times."""

    variance_preserving = False

    def __init__(self) -> None:
        super().__init__(np.full(T, 0.01))  # tables that nothing reads

    @property
    def terminal_snr(self) -> float:
        alpha, sigma = self.alpha_sigma(torch.tensor([T - 1.0]))
        return float(alpha / sigma) ** 2


class Flow(_Formula):
    """alpha = 1 - u, sigma = u, u = (t + 1) / T."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = (t.to(torch.float64) + 1.0) / T
        return 1.0 - u, u

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * log_snr.to(torch.float64)) * T - 1.0


class EDM(_Formula):
    """alpha = 1, log sigma linear in t from sigma_min at t = 0 to sigma_max at T-1."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        super().__init__()
        self.sigma_min, self.rate = sigma_min, math.log(sigma_max / sigma_min) / (T - 1)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.to(torch.float64)
        sigma = torch.where(t < 0, t + 1.0, torch.exp(t.clamp(min=0.0) * self.rate)) * self.sigma_min
        return torch.ones_like(sigma), sigma

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        ratio = torch.exp(-0.5 * log_snr.to(torch.float64)) / self.sigma_min
        return torch.where(ratio < 1.0, ratio - 1.0, (torch.log(ratio) / self.rate).clamp(max=T - 1.0))
