"""Ancestral sampling of DDPM, for any time grid."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import OneOf
from ablatent.core.types import Prediction
from ablatent.samplers.base import Node, Sampler, SolverState

VARIANCES = ("beta", "beta_tilde", "sigma_hat", "learned")


def beta_between(t: Node, s: Node) -> float:
    """Variance of q(x_t | x_s) for s less noisy than t: sigma_t² - (alpha_t sigma_s / alpha_s)², the beta of one long
    step; 1 - alpha_t² / alpha_s² where variance is preserved."""
    ratio = t.alpha / s.alpha
    return 1.0 - ratio**2 if t.variance_preserving else t.sigma**2 - (ratio * s.sigma) ** 2


@dataclass(frozen=True)
class DDPM(Sampler):
    """x_s ~ N(mean of q(x_s | x_t, x_0), variance) (Ho et al. 2020, eq. 6, 7 and algorithm 2), with the betas of the
    steps really taken (Nichol & Dhariwal 2021, section 4).

    variance: beta (right for data of unit variance) or beta_tilde (right for data that is a point); the two bound the
    true one. (Where alpha² + sigma² is not 1, data of unit variance have (alpha_s² + sigma_s²) / (alpha_t² + sigma_t²)
    times the beta of the step, and that is taken.) sigma_hat is DDIM's name for the larger noise (Song et al. 2021,
    section 5 and table 1): over the steps really taken it is the same number as beta. learned lies between the two in
    logarithm, where the network says (Nichol & Dhariwal 2021, eq. 15); a network that says a little more or less than
    [0, 1] is believed. No noise is added in the step to the clean state, whichever.
    """

    variance: Annotated[str, OneOf(VARIANCES), "of a step; learned: with diffusion.learned_variance"] = "beta_tilde"

    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance not in VARIANCES:
            hint = did_you_mean(self.variance, VARIANCES)
            raise ConfigError("sampler.variance", f"one of {', '.join(VARIANCES)}", self.variance, hint)

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def needs_variance(self) -> bool:
        return self.variance == "learned"

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        beta = beta_between(t, s)
        shrink = (s.sigma / t.sigma) ** 2
        x = (t.alpha / s.alpha * shrink) * x + (s.alpha * beta / t.sigma**2) * prediction.x0
        if s.sigma > 0:
            x = x + self._std(beta * (s.variance / t.variance), beta * shrink, prediction) * state.noise(i, x)
        return x, prediction

    def _std(self, beta: float, beta_tilde: float, prediction: Prediction) -> float | Float[Tensor, "b c h w"]:
        """The deviation of a step's noise."""
        if self.variance != "learned":
            return math.sqrt(beta_tilde if self.variance == "beta_tilde" else beta)
        v = prediction.variance_fraction
        if v is None:
            raise ConfigError(
                "sampler.variance",
                "beta, beta_tilde or sigma_hat for a network that was not trained to predict a variance",
                self.variance,
            )
        return torch.exp(0.5 * (v * math.log(beta) + (1.0 - v) * math.log(beta_tilde)))
