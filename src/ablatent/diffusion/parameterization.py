"""What the network's output means: eps, x_0 or v (flow.py, edm.py have others). Everything else sees x_0 and eps
together, as a Prediction.

Each is a linear change of variables for given (alpha, sigma), so any of them can be turned into any other.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.diffusion.compatibility import check_terminal_snr
from ablatent.schedules.base import NoiseSchedule, per_row

Image = Float[Tensor, "b c h w"]
Level = Float[Tensor, " b"]
"""alpha or sigma of each row's time, float64."""

LevelTable = Float64[Tensor, " T"]
"""A number for each timestep of a schedule, such as alpha²."""


def at_least_float32(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x itself, or x in float32 if it was of lower precision (autocast)."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Parameterization(ABC):
    """alpha, sigma: (b,) of each row's time, float64; images (b, c, h, w). Results are never below float32."""

    name: ClassVar[str]
    defined_without_signal: ClassVar[bool] = True
    """Whether the output says something about x_0 where alpha = 0; planning reads it from the source."""

    scales_input: ClassVar[bool] = False
    """Whether the network sees `input` of x_t in place of x_t."""

    def input(self, x_t: Image, alpha: Level, sigma: Level) -> Image:
        """What the network is given for x_t: x_t itself, unless the class says otherwise by `scales_input`."""
        return x_t

    @abstractmethod
    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        """What the network should have answered for x_t = alpha x0 + sigma eps."""

    @abstractmethod
    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        """What the output says of x_0 and eps; together they give back x_t."""

    @abstractmethod
    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        """|d x0_hat / d out|²: turns a squared error of the output into one of x_0. alpha2, sigma2: squares."""

    def check(self, schedule: NoiseSchedule) -> None:
        """Raise ConfigError if the schedule has a time at which this output says nothing about x_0."""
        check_terminal_snr(self.name, self.defined_without_signal, schedule.terminal_snr == 0, schedule.ends_in_noise)


class Eps(Parameterization):
    """The output is the noise (Ho et al. 2020, eq. 11–14). Undefined where alpha = 0."""

    name = "eps"
    defined_without_signal = False

    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        return at_least_float32(eps)

    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        eps, x_t = at_least_float32(out), at_least_float32(x_t)
        return Prediction(x0=(x_t - per_row(sigma, x_t) * eps) / per_row(alpha, x_t), eps=eps)

    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return sigma2 / alpha2


class X0(Parameterization):
    """The output is the clean image or latent. eps is undefined where sigma = 0, which no sampler asks for."""

    name = "x0"

    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        return at_least_float32(x0)

    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        x0, x_t = at_least_float32(out), at_least_float32(x_t)
        return Prediction(x0=x0, eps=(x_t - per_row(alpha, x_t) * x0) / per_row(sigma, x_t))

    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return torch.ones_like(alpha2)


class V(Parameterization):
    """The output is v = alpha eps - sigma x_0 (Salimans & Ho 2022, section 4 and appendix D). Defined everywhere."""

    name = "v"

    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        return per_row(alpha, x0) * eps - per_row(sigma, x0) * x0

    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        v, x_t = at_least_float32(out), at_least_float32(x_t)
        a, s = per_row(alpha, x_t), per_row(sigma, x_t)
        norm = per_row(alpha**2 + sigma**2, x_t)  # exactly 1 in float32 where the schedule preserves variance
        return Prediction(x0=(a * x_t - s * v) / norm, eps=(s * x_t + a * v) / norm)

    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return sigma2 / (alpha2 + sigma2) ** 2
