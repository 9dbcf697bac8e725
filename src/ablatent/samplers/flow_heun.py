"""Heun's second-order method in the velocity, for flow matching."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState


@dataclass(frozen=True)
class FlowHeun(Sampler):
    """dx = x_0 d alpha + eps d sigma, by the trapezoidal rule: the average of the velocities at a step's two ends.

    On a rectified flow Heun's method in u, which can start from pure noise; with alpha = 1 it is that of `heun`. Two
    denoiser calls a step, one in a last step to the clean state: 2S - 1.
    """

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        euler = s.alpha * prediction.x0 + s.sigma * prediction.eps
        if s.sigma == 0:
            return euler, prediction
        end = state.predict(euler, s)
        x0, eps = (0.5 * (a + b) for a, b in ((prediction.x0, end.x0), (prediction.eps, end.eps)))
        return x + (s.alpha - t.alpha) * x0 + (s.sigma - t.sigma) * eps, prediction
