"""Ancestral sampling of DDPM, for any time grid."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.types import Prediction
from ablatent.samplers.base import Node, Run, Sampler

VARIANCES = ("beta", "beta_tilde")


def beta_between(t: Node, s: Node) -> float:
    """Variance of q(x_t | x_s) for s less noisy than t: 1 - alpha_t² / alpha_s², the beta of one long step."""
    return 1.0 - (t.alpha / s.alpha) ** 2


@dataclass(frozen=True)
class DDPM(Sampler):
    """x_s ~ N(mean of q(x_s | x_t, x_0), variance) (Ho et al. 2020, eq. 6, 7 and algorithm 2), with the betas of the
    steps really taken (Nichol & Dhariwal 2021, section 4).

    variance: beta (right for data of unit variance) or beta_tilde (right for data that is a point); the two bound the
    true one. No noise is added in the last step, whichever.
    """

    variance: str = "beta_tilde"

    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance not in VARIANCES:
            hint = did_you_mean(self.variance, VARIANCES)
            raise ConfigError("sampler.variance", f"one of {', '.join(VARIANCES)}", self.variance, hint)

    def step(self, run: Run, i: int, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = run.nodes[i], run.nodes[i + 1]
        prediction = run.predict(x, t)
        beta = beta_between(t, s)
        shrink = (s.sigma / t.sigma) ** 2
        x = (t.alpha / s.alpha * shrink) * x + (s.alpha * beta / t.sigma**2) * prediction.x0
        variance = beta if self.variance == "beta" else beta * shrink
        if s.sigma > 0:
            x = x + math.sqrt(variance) * run.noise(i, x)
        return x, prediction
