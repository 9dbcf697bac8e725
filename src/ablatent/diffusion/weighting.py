"""How much each timestep counts in the loss: w(SNR), the weight of the squared error of x_0.

The network is trained on its own output, so the loss needs w · g with g = |d x0_hat / d out|²: 1 / SNR for eps, 1 for
x_0, sigma² / (alpha² + sigma²)² for v. A product of tables would be 0 · inf where SNR = 0, so each weighting states
w · g in closed form for each parameterization. alpha2, sigma2: (T,) float64, alpha² and sigma², which add up to 1:
where the schedule's do not, they are brought to that scale, which changes no SNR.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from jaxtyping import Real
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import NotNegative, Positive
from ablatent.diffusion.compatibility import check_whole_times
from ablatent.diffusion.parameterization import LevelTable, Parameterization
from ablatent.schedules.base import NoiseSchedule, is_real


class Weighting(ABC):
    """Three closed forms of one weight; a parameterization beyond eps, x0 and v gets `x0` times its own g."""

    discrete_only: ClassVar[bool] = False
    """Whether it is defined by the steps of a discrete schedule; planning reads it from the source."""

    @abstractmethod
    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        """w / SNR: the weight of the squared error of eps."""

    @abstractmethod
    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        """w: the weight of the squared error of x_0."""

    @abstractmethod
    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        """w · sigma²: the weight of the squared error of v."""

    def check(self, schedule: NoiseSchedule, parameterization: Parameterization) -> None:
        """Raise ConfigError if there is no such weight on this schedule, or the output says nothing about x_0 at some
        time (eps at zero terminal SNR)."""
        parameterization.check(schedule)
        check_whole_times("weighting", type(self).__name__, self.discrete_only, schedule.continuous)

    def loss_weights(
        self, schedule: NoiseSchedule, parameterization: Parameterization, t: Real[Tensor, " n"] | None = None
    ) -> LevelTable:
        """w · g at the given times, of a continuous schedule, or at each whole time, 0 … T-1."""
        alpha2, sigma2 = schedule.squares(t)
        if schedule.variance_preserving:
            closed = {"eps": self.eps, "x0": self.x0, "v": self.v}.get(parameterization.name)
            if closed is not None:
                return closed(alpha2, sigma2)
            return self.x0(alpha2, sigma2) * parameterization.g(alpha2, sigma2)
        norm = alpha2 + sigma2
        return self.x0(alpha2 / norm, sigma2 / norm) * parameterization.g(alpha2, sigma2)


class Simple(Weighting):
    """w = SNR: the plain squared error of eps (Ho et al. 2020, eq. 14). Gives no weight to a time with SNR = 0."""

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return torch.ones_like(alpha2)

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return alpha2 / sigma2

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return alpha2.clone()


class VelocityMSE(Weighting):
    """w = SNR + 1: the plain squared error of v (Salimans & Ho 2022, section 4); where variance is not preserved, that
    of v / sqrt(alpha² + sigma²)."""

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return 1.0 / alpha2

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return 1.0 / sigma2

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return torch.ones_like(alpha2)


class X0MSE(Weighting):
    """w = 1: the plain squared error of x_0 (Salimans & Ho 2022, section 4)."""

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return sigma2 / alpha2

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return torch.ones_like(alpha2)

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return sigma2.clone()


class MinSNR(Weighting):
    """w = min(SNR, gamma) (Hang et al. 2023, section 3.4; gamma = 5)."""

    def __init__(
        self,
        gamma: Annotated[Positive, "signal-to-noise ratio from which the weight no longer grows (Hang et al. 2023)"],
    ):
        if not (is_real(gamma) and gamma > 0):
            raise ConfigError("weighting.gamma", "a number above 0", gamma)
        self.gamma = gamma

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return (self.gamma * sigma2 / alpha2).clamp(max=1.0)

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return (alpha2 / sigma2).clamp(max=self.gamma)

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return torch.minimum(alpha2, self.gamma * sigma2)


class P2(Weighting):
    """w = SNR / (k + SNR)^gamma (Choi et al. 2022, eq. 8: the eps error divided by (k + SNR)^gamma; k = 1)."""

    def __init__(
        self,
        k: Annotated[Positive, "offset of the ratio (Choi et al. 2022, eq. 8)"],
        gamma: Annotated[NotNegative, "exponent (Choi et al. 2022, eq. 8); 0 weighs nothing"],
    ):
        if not (is_real(k) and k > 0):
            raise ConfigError("weighting.k", "a number above 0", k)
        if not (is_real(gamma) and gamma >= 0):
            raise ConfigError("weighting.gamma", "a number of at least 0", gamma)
        self.k, self.gamma = k, gamma

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return (sigma2 / (self.k * sigma2 + alpha2)) ** self.gamma

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return alpha2 / sigma2 * self.eps(alpha2, sigma2)

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return alpha2 * self.eps(alpha2, sigma2)


class VLB(Weighting):
    """w = (SNR(t-1) - SNR(t)) / 2: the term L_t of the variational bound, in nats a dimension, with the variance that
    fits the posterior (Kingma et al. 2021, eq. 13-14). T times the mean over t is the bound, without the prior's term.

    SNR(-1) is infinite, so t = 0 is defined apart: -log p(x_0 | x_1) for a Gaussian of mean x_0_hat and variance
    sigma_0², without its constant: w = 1 / (2 sigma_0²). It sums over the steps of a discrete schedule.
    """

    discrete_only = True

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return 0.5 * _lost(alpha2) / (_before(sigma2) * alpha2)

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return 0.5 * _lost(alpha2) / (_before(sigma2) * sigma2)

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return 0.5 * _lost(alpha2) / _before(sigma2)


def _lost(alpha2: LevelTable) -> LevelTable:
    """alpha_{t-1}² - alpha_t², with alpha_{-1} = 1: SNR(t-1) - SNR(t), times both sigma²."""
    return torch.cat([torch.ones_like(alpha2[:1]), alpha2[:-1]]) - alpha2


def _before(sigma2: LevelTable) -> LevelTable:
    """sigma_{t-1}², and sigma_0² for t = 0, which makes that term the one defined there."""
    return torch.cat([sigma2[:1], sigma2[:-1]])
