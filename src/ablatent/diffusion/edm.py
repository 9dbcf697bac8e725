"""EDM's preconditioning: input and output of the network have unit variance at every noise level."""

from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Positive
from ablatent.core.types import Prediction
from ablatent.diffusion.parameterization import Image, Level, LevelTable, Parameterization, at_least_float32
from ablatent.diffusion.weighting import Weighting
from ablatent.schedules.base import is_real, per_row

SigmaData = Annotated[Positive, "standard deviation of the data (Karras et al. 2022, table 1)"]


def _checked(key: str, sigma_data: float) -> float:
    if not (is_real(sigma_data) and sigma_data > 0):
        raise ConfigError(key, "a number above 0 (latents: 1; pixels: 0.5)", sigma_data)
    return float(sigma_data)


class Preconditioned(Parameterization):
    """x_0 = c_skip x + c_out F(c_in x) for x = x_t / alpha and its noise sigma / alpha (Karras et al. 2022, eq. 7 and
    table 1), written so that it holds where alpha = 0, too. With sigma_data = 1 on a variance-preserving schedule it is
    v with its sign turned.

    sigma_data: standard deviation of the data; latents that are normalised have 1.
    """

    name = "edm"
    scales_input: ClassVar[bool] = True

    def __init__(self, sigma_data: SigmaData):
        self.sigma_data = _checked("parameterization.sigma_data", sigma_data)

    def input(self, x_t: Image, alpha: Level, sigma: Level) -> Image:
        x_t = at_least_float32(x_t)
        return x_t / per_row(self._deviation(alpha, sigma), x_t)

    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        deviation = self._deviation(alpha, sigma)
        signal, noise = sigma / (self.sigma_data * deviation), alpha * self.sigma_data / deviation
        return per_row(signal, x0) * x0 - per_row(noise, x0) * eps

    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        out, x_t = at_least_float32(out), at_least_float32(x_t)
        deviation, data = self._deviation(alpha, sigma), self.sigma_data
        skip, gain = data**2 * alpha / deviation**2, data * sigma / deviation
        x0 = per_row(skip, x_t) * x_t + per_row(gain, x_t) * out
        eps = per_row(sigma / deviation**2, x_t) * x_t - per_row(data * alpha / deviation, x_t) * out
        return Prediction(x0=x0, eps=eps)

    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        data2 = self.sigma_data**2
        return data2 * sigma2 / (sigma2 + data2 * alpha2)

    def _deviation(self, alpha: Level, sigma: Level) -> Float[Tensor, " b"]:
        """The standard deviation of x_t: alpha / c_in."""
        return (sigma**2 + (self.sigma_data * alpha) ** 2).sqrt()


class PreconditionedMSE(Weighting):
    """w = SNR + 1 / sigma_data²: the plain squared error of the network's output with parameterization=edm
    (lambda of Karras et al. 2022, table 1). With sigma_data = 1 it is that of v."""

    def __init__(self, sigma_data: SigmaData):
        self.sigma_data = _checked("weighting.sigma_data", sigma_data)

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return self.v(alpha2, sigma2) / alpha2

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return self.v(alpha2, sigma2) / sigma2

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return alpha2 + sigma2 / self.sigma_data**2
