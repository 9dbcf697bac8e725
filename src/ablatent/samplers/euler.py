"""Euler's method in the velocity, the sampler of flow matching."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState


@dataclass(frozen=True)
class Euler(Sampler):
    """dx = x_0 d alpha + eps d sigma, with the estimates of the step's beginning (Lipman et al. 2022; Liu et al. 2022).

    On a rectified flow x_s = x_t + (u_s - u_t) (eps - x_0), Euler's method in u; with alpha = 1 Euler's method in sigma
    (Karras et al. 2022). Since x_t = alpha_t x_0 + sigma_t eps, each step ends where that of DDIM with eta = 0 ends,
    alpha_s x_0 + sigma_s eps, on any schedule; it is written as a change of x_t, so that the two differ by rounding.
    """

    order: ClassVar[int] = 1

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        return x + (s.alpha - t.alpha) * prediction.x0 + (s.sigma - t.sigma) * prediction.eps, prediction
