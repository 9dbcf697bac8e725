"""Densities of timesteps that weigh the loss: there is no correction by 1 / density, unlike in timesteps.py."""

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from jaxtyping import Float, Real
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Positive
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.schedules.base import NoiseSchedule, is_real


class _Normal(TimestepSampler):
    """A function of normal numbers."""

    keeps_mean: ClassVar[bool] = False

    def __init__(
        self,
        schedule: NoiseSchedule,
        mean: Annotated[float, "of the normal numbers"],
        std: Annotated[Positive, "standard deviation of the normal numbers"],
    ):
        super().__init__(schedule)
        if not is_real(mean):
            raise ConfigError("timestep_sampler.mean", "a number", mean)
        if not (is_real(std) and std > 0):
            raise ConfigError("timestep_sampler.std", "a number above 0", std)
        self.mean, self.std = mean, std

    def normal(self, u: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """N(mean, std²) of uniform numbers, by the inverse of its distribution."""
        return self.mean + self.std * torch.special.ndtri(u)


class LogitNormal(_Normal):
    """The logit of the share of time is N(mean, std²) (Esser et al. 2024, eq. 19): more of the times in the middle.

    mean: below 0 cleaner times, above 0 noisier ones; std: 1 in the paper's best model, with mean 0.
    """

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        share = torch.sigmoid(self.normal(u))
        return self.schedule.time_at(share), torch.ones_like(u)


class Mode(TimestepSampler):
    """The share of time is 1 - u - scale (cos²(pi u / 2) - 1 + u) (Esser et al. 2024, eq. 20): more of the times in the
    middle for a scale above 0, at both ends below 0, without vanishing anywhere.

    scale: from -1 to 1.75, as far as the share falls with u (to 2 / (pi - 2) = 1.7519); 0 is uniform.
    """

    keeps_mean: ClassVar[bool] = False

    def __init__(
        self,
        schedule: NoiseSchedule,
        scale: Annotated[float, Ge(-1), Le(1.75), "above 0 more of the times in the middle, below 0 at both ends"],
    ):
        super().__init__(schedule)
        if not (is_real(scale) and -1 <= scale <= 1.75):
            raise ConfigError("timestep_sampler.scale", "a number from -1 to 1.75", scale)
        self.scale = scale

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        share = 1.0 - u - self.scale * (torch.cos(0.5 * torch.pi * u) ** 2 - 1.0 + u)
        return self.schedule.time_at(share.clamp(0.0, 1.0)), torch.ones_like(u)


class LognormalSigma(_Normal):
    """log(sigma / alpha) is N(mean, std²) (Karras et al. 2022, table 1: -1.2 and 1.2), as far as the schedule goes.

    On a discrete schedule: the nearest whole time.
    """

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        t = self.schedule.t_of_log_snr(-2.0 * self.normal(u)).clamp(min=0.0)
        return t if self.schedule.continuous else t.round().long(), torch.ones_like(u)
