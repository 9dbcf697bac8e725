"""DDIM: from deterministic (eta = 0) to ancestral (eta = 1)."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Share
from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState
from ablatent.samplers.ddpm import beta_between
from ablatent.schedules.base import is_real


@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s x_0 + sqrt(sigma_s² - v) eps + sqrt(v) z (Song et al. 2021, eq. 12), v = eta² beta_tilde (eq. 16).

    eta: 0 is deterministic, and Euler's method in sigma / alpha; 1 is DDPM with the variance beta_tilde.
    """

    eta: Annotated[Share, "0: deterministic; 1: DDPM with the variance beta_tilde"] = 0.0

    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_real(self.eta) and 0 <= self.eta <= 1):
            raise ConfigError("sampler.eta", "a number from 0 (deterministic) to 1 (DDPM)", self.eta)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        variance = self.eta**2 * beta_between(t, s) * (s.sigma / t.sigma) ** 2
        # max: at eta = 1 and nearly equal times the difference may be a rounding error below 0
        towards = math.sqrt(max(s.sigma**2 - variance, 0.0))
        x = s.alpha * prediction.x0 + towards * prediction.eps
        if variance > 0:
            x = x + math.sqrt(variance) * state.noise(i, x)
        return x, prediction
