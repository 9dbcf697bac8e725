"""The forward process: x_t = alpha_t x_0 + sigma_t eps with alpha_t² + sigma_t² = 1, at T discrete times 0 … T-1.

A family (one file each) only has to give its betas. Tables are float64, and stay so: alpha_bar of the last times is
a small number, and its error in float32 (5e-4 in log-SNR for the cosine schedule) is larger than what samplers are
compared to. Times may be real: networks accept them, and log-SNR grids need them.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from einops import rearrange
from jaxtyping import Float, Float64, Real
from torch import Tensor, nn

from ablatent.core.errors import ConfigError

Times = Annotated[int, Ge(2), "times of the diffusion"]
FirstBeta = Annotated[float, Gt(0), Lt(1), "variance of the first step"]
LastBeta = Annotated[float, Gt(0), Lt(1), "variance of the last step, from beta_start on"]
ZeroTerminalSnr = Annotated[bool, "rescale to no signal at the last time (Lin et al. 2024)"]
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


def rescale_zero_terminal_snr(alphas_cumprod: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    """Shift and scale sqrt(alpha_bar) so that it ends at exactly 0 and starts where it started.

    Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
    """
    root = np.sqrt(alphas_cumprod)
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return root**2


class NoiseSchedule(nn.Module):
    """The float64 tables of T noise levels, and what lies between them.

    betas: (T,) variances of the T forward steps, in (0, 1).
    zero_terminal_snr: rescale so that x_{T-1} is pure noise (Lin et al. 2023). Such a schedule excludes the eps
    parameterization, which says nothing about x_0 there.

    Between integers, and between t = 0 and the clean state at t = -1, the angle arctan(sigma / alpha) is
    interpolated linearly. Log-SNR would do as well, but is infinite at the clean state and at zero terminal SNR,
    where the angle is 0 and pi / 2 (Salimans & Ho 2022, section D.1 for the angle). At integers the tables are exact.

    The buffers are not saved with the weights (the config makes them), follow the module from device to device, and
    stay float64 under .half(), .float() and .to(dtype).
    """

    variance_preserving: ClassVar[bool] = True
    """Whether alpha² + sigma² = 1 at every time."""

    alphas_cumprod: Tensor
    betas: Tensor
    _alphas: Tensor
    _sigmas: Tensor
    _angles: Tensor

    def __init__(self, betas: Float64[np.ndarray, " T"], zero_terminal_snr: bool = False):
        super().__init__()
        betas = np.asarray(betas, dtype=np.float64)
        self.T = check_steps_of_time(len(betas), least=2 if zero_terminal_snr else 1)
        if not bool(np.all((betas > 0) & (betas < 1))):
            got = f"{betas.min():g} … {betas.max():g}"
            raise ConfigError("schedule", "betas above 0 and below 1", got, "Change the schedule's beta options.")
        alphas_cumprod = np.cumprod(1.0 - betas)
        if zero_terminal_snr:
            alphas_cumprod = rescale_zero_terminal_snr(alphas_cumprod)
            betas = 1.0 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])
        self.zero_terminal_snr = zero_terminal_snr
        with_clean = np.concatenate([[1.0], alphas_cumprod])  # row t + 1 is time t, row 0 the clean state
        alphas, sigmas = np.sqrt(with_clean), np.sqrt(1.0 - with_clean)
        self._tables = {
            "alphas_cumprod": alphas_cumprod,
            "betas": betas,
            "_alphas": alphas,
            "_sigmas": sigmas,
            "_angles": np.arctan2(sigmas, alphas),
        }
        for name, table in self._tables.items():
            self.register_buffer(name, torch.tensor(table, dtype=torch.float64), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NoiseSchedule":
        """Take the device of a .to(), never its dtype; the tables are made anew, so meta and to_empty() work too."""
        super()._apply(fn, recurse)
        device = self.betas.device
        for name, table in self._tables.items():
            setattr(self, name, torch.from_numpy(table).to(device=device, copy=True))
        return self

    @property
    def terminal_snr(self) -> float:
        """alpha² / sigma² at t = T-1; 0 with zero_terminal_snr."""
        last = float(self._tables["alphas_cumprod"][-1])
        return last / (1.0 - last)

    def _rows(self, t: Real[Tensor, " b"]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the tables below and above t, and how far t lies between them. Outside [-1, T-1]: an index error."""
        t = t.to(self.betas.device, torch.float64)
        floor = torch.floor(t)
        part = t - floor
        low = floor.long() + 1
        # a negative index would count from the end: send it beyond the table instead
        low = torch.where(low < 0, self.T + 1, low)
        return low, low + (part > 0).long(), part

    def alpha_sigma(self, t: Real[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        """alpha and sigma at times in [-1, T-1], integer or real; t = CLEAN gives 1 and 0.

        Raises IndexError for a time outside (a device-side assertion on CUDA).
        """
        low, high, part = self._rows(t)
        angle = torch.lerp(self._angles[low], self._angles[high], part)
        between = part > 0
        alpha = torch.where(between, torch.cos(angle), self._alphas[low])
        sigma = torch.where(between, torch.sin(angle), self._sigmas[low])
        return alpha, sigma

    def log_snr(self, t: Real[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """log(alpha² / sigma²): decreasing in t, +inf at the clean state, -inf at zero terminal SNR."""
        alpha, sigma = self.alpha_sigma(t)
        return 2.0 * (torch.log(alpha) - torch.log(sigma))

    def t_of_log_snr(self, log_snr: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """The real time in [-1, T-1] with that log-SNR: the inverse of `log_snr`.

        A value below that of t = T-1 gives T-1: the schedule has no noisier state.
        """
        angle = torch.atan(torch.exp(-0.5 * log_snr.to(self.betas.device, torch.float64)))
        high = torch.searchsorted(self._angles, angle).clamp(1, self.T)
        below, above = self._angles[high - 1], self._angles[high]
        part = ((angle - below) / (above - below)).clamp(max=1.0)
        return (high - 2).to(torch.float64) + part

    def q_sample(
        self, x0: Float[Tensor, "b c h w"], t: Real[Tensor, " b"], eps: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """x_t = alpha_t x0 + sigma_t eps (Ho et al. 2020, eq. 4), in the dtype of x0, never below float32."""
        alpha, sigma = self.alpha_sigma(t)
        return per_row(alpha, x0) * x0 + per_row(sigma, x0) * eps

    def extra_repr(self) -> str:
        """What `repr` shows of it."""
        return f"T={self.T}, terminal_snr={self.terminal_snr:.3g}"
