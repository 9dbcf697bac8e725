"""Classifier-free guidance that keeps the contrast of the conditional prediction (Lin et al. 2023, section 3.4)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Share
from ablatent.core.types import Prediction
from ablatent.samplers.guidance import ClassifierFree
from ablatent.schedules.base import NoiseSchedule, is_real, per_row


@dataclass(frozen=True)
class RescaledClassifierFree(ClassifierFree):
    """x0 = phi std(x0_cond) / std(x0_guided) x0_guided + (1 - phi) x0_guided (eq. 15 and 16).

    Large scales make x_0 larger than any image is, which shows as overexposure; this takes its deviation, over
    channels and pixels of each sample, back to that of the conditional prediction. phi: 0 is plain classifier-free
    guidance, 1 the conditional deviation in full; the paper uses 0.7.

    The paper rescales whatever the network puts out. Here it is x_0 in every parameterization, the quantity that
    is overexposed; eps follows from x_t = alpha x_0 + sigma eps, so that the two go on saying the same.
    """

    phi: Annotated[Share, "share of the rescaled prediction (Lin et al. 2024, section 3.4)"] = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_real(self.phi) and 0 <= self.phi <= 1):
            raise ConfigError("guidance.phi", "a number from 0 (no rescaling) to 1 (in full)", self.phi)

    def finish(
        self, guided: Prediction, with_cond: Prediction, x: Tensor, t: Tensor, schedule: NoiseSchedule
    ) -> Prediction:
        if self.phi == 0:
            return guided
        wanted, got = deviation(with_cond.x0), deviation(guided.x0)
        # A constant x_0 has no contrast to take back.
        ratio = torch.where(got > 0, wanted / torch.where(got > 0, got, 1.0), 1.0)
        x0 = torch.lerp(torch.ones_like(ratio), ratio, self.phi) * guided.x0
        alpha, sigma = (per_row(v, x) for v in schedule.alpha_sigma(t))
        return Prediction(x0, (x - alpha * x0) / sigma, guided.variance_fraction)


def deviation(x0: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
    """Standard deviation of each sample over its channels and pixels."""
    return x0.std(dim=(1, 2, 3), keepdim=True, correction=0)
