"""Flow matching: the output is the velocity from the data to the noise, and the loss its plain squared error."""

from ablatent.core.types import Prediction
from ablatent.diffusion.parameterization import Image, Level, LevelTable, Parameterization, at_least_float32
from ablatent.diffusion.weighting import Weighting
from ablatent.schedules.base import per_row


class Flow(Parameterization):
    """The output is u = eps - x_0: with schedule=rectified_flow the velocity d x_t / d sigma (Liu et al. 2022, eq. 1;
    Lipman et al. 2022, eq. 23). Defined everywhere, on other schedules too, since alpha + sigma > 0."""

    name = "flow"

    def target(self, x0: Image, eps: Image, alpha: Level, sigma: Level) -> Image:
        return at_least_float32(eps) - at_least_float32(x0)

    def prediction(self, out: Image, x_t: Image, alpha: Level, sigma: Level) -> Prediction:
        u, x_t = at_least_float32(out), at_least_float32(x_t)
        total = per_row(alpha + sigma, x_t)
        x0 = (x_t - per_row(sigma, x_t) * u) / total
        return Prediction(x0=x0, eps=(x_t + per_row(alpha, x_t) * u) / total)

    def g(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return sigma2 / (alpha2.sqrt() + sigma2.sqrt()) ** 2


class FlowMSE(Weighting):
    """w = (1 + sqrt(SNR))²: the plain squared error of eps - x_0, on every schedule (Esser et al. 2024, section 2)."""

    def eps(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return _total2(alpha2, sigma2) / alpha2

    def x0(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return _total2(alpha2, sigma2) / sigma2

    def v(self, alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
        return _total2(alpha2, sigma2)


def _total2(alpha2: LevelTable, sigma2: LevelTable) -> LevelTable:
    """(alpha + sigma)²."""
    return (alpha2.sqrt() + sigma2.sqrt()) ** 2
