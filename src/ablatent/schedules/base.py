"""The forward process: x_t = alpha_t x_0 + sigma_t eps, with an SNR alpha_t² / sigma_t² that falls with the time.

Times go from -1, the clean state, to T-1. A family (one file each) is a subclass of `DiscreteSchedule`
(discrete.py), which only has to give its betas and is trained at the whole times 0 … T-1, or of `ContinuousSchedule`
(continuous.py), which gives its levels by a formula and is trained at real times from 0 to T-1. Levels are float64:
alpha_bar of the last times is a small number, and its error in float32 (5e-4 in log-SNR for the cosine schedule) is
larger than what samplers are compared to. Networks and samplers take real times of either.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from einops import rearrange
from jaxtyping import Float, Float64, Real
from torch import Tensor, nn

from ablatent.core.errors import ConfigError

Times = Annotated[int, Ge(2), "times of the diffusion"]
CLEAN = -1.0
"""The time of the clean state: alpha 1, sigma 0. One step below the first noisy time, t = 0."""


def per_row(value: Float[Tensor, " b"], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
    """One number per row, ready to multiply images, in the dtype of `like` but never below float32."""
    return rearrange(value, "b -> b 1 1 1").to(torch.promote_types(like.dtype, torch.float32))


def is_real(value: object) -> bool:
    """Whether a config value is a finite number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_steps_of_time(T: object, least: int = 1) -> int:
    """T as an int of at least `least`. Raises ConfigError (schedule.T) otherwise."""
    if isinstance(T, bool) or not isinstance(T, int) or least > T:
        raise ConfigError("schedule.T", f"an integer of at least {least}", T)
    return T


class NoiseSchedule(nn.Module, ABC):
    """Noise levels over the times from `CLEAN` to T-1.

    T: times go from -1 to T-1; the number of whole ones, where these are trained. Levels follow the device of the
    times, are float64 whatever the module is cast to, and are made by the configuration, not saved with the weights.
    """

    T: int

    continuous: ClassVar[bool] = False
    """Whether training draws real times; planning reads it from the source."""

    variance_preserving: ClassVar[bool] = True
    """Whether alpha² + sigma² = 1 at every time."""

    ends_in_noise: ClassVar[bool] = False
    """Whether alpha = 0 at T-1 whatever the options; planning reads it from the source."""

    @abstractmethod
    def alpha_sigma(self, t: Real[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        """alpha and sigma at times in [-1, T-1], integer or real; t = CLEAN gives 1 and 0.

        Raises IndexError for a time outside (a device-side assertion on CUDA).
        """

    @abstractmethod
    def t_of_log_snr(self, log_snr: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """The real time in [-1, T-1] with that log-SNR: the inverse of `log_snr`.

        A value below that of t = T-1 gives T-1: the schedule has no noisier state.
        """

    @abstractmethod
    def time_at(self, share: Float[Tensor, " b"]) -> Real[Tensor, " b"]:
        """The time of training at a share of the schedule, in [0, 1]: whole (int64) or real (float64), in [0, T-1]."""

    @property
    def terminal_snr(self) -> float:
        """alpha² / sigma² at t = T-1; 0 where it is pure noise."""
        alpha, sigma = self.alpha_sigma(torch.tensor([self.T - 1.0], dtype=torch.float64))
        return float(alpha / sigma) ** 2

    def log_snr(self, t: Real[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """log(alpha² / sigma²): decreasing in t, +inf at the clean state, -inf at zero terminal SNR."""
        alpha, sigma = self.alpha_sigma(t)
        return 2.0 * (torch.log(alpha) - torch.log(sigma))

    def squares(self, t: Real[Tensor, " b"] | None = None) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        """alpha² and sigma² at these times, or at each whole one, 0 … T-1."""
        alpha, sigma = self.alpha_sigma(torch.arange(self.T) if t is None else t)
        return alpha**2, sigma**2

    def q_sample(
        self, x0: Float[Tensor, "b c h w"], t: Real[Tensor, " b"], eps: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """x_t = alpha_t x0 + sigma_t eps (Ho et al. 2020, eq. 4), in the dtype of x0, never below float32."""
        alpha, sigma = self.alpha_sigma(t)
        return per_row(alpha, x0) * x0 + per_row(sigma, x0) * eps

    def extra_repr(self) -> str:
        """What `repr` shows of it."""
        return f"T={self.T}, terminal_snr={self.terminal_snr:.3g}"
