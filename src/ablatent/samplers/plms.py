"""PLMS: pseudo linear multistep, the sampler of the released latent diffusion code beside DDIM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, SolverState

ADAMS_BASHFORTH = (
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest eps and those before it, by how many there are."""


@dataclass(frozen=True)
class PLMS(Sampler):
    """DDIM's step with an eps that is extrapolated from the last four (Liu et al. 2022, "PNDM").

    As in the released LDM code, and without the paper's Runge-Kutta start: the first step averages eps at its two ends
    (pseudo improved Euler, two denoiser calls), the next two look back on two and three eps, all others on four. S + 1
    calls; one step alone, which ends at the clean state, where eps is undefined, is a step of DDIM with one call.
    Second order, as Liu et al. prove, on grids of equal distances; on the others its weights, which are those
    of equal distances, leave it at first order.
    """

    order: ClassVar[int] = 2
    keep: ClassVar[int] = 3
    refuses_zero_snr: ClassVar[str] = "PLMS changes eps alone, and there eps decides nothing about x_0."

    def nfe(self, steps: int | None = None) -> int:
        steps = super().nfe(steps)
        return steps + 1 if steps > 1 else 1

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        ddim = s.alpha * prediction.x0 + s.sigma * prediction.eps
        if i > 0:
            newest_first = [prediction, *reversed(state.predictions)]
            weights = ADAMS_BASHFORTH[len(newest_first) - 2]
            eps = torch.zeros_like(prediction.eps)
            for weight, p in zip(weights, newest_first, strict=True):
                eps = eps + weight * p.eps
        elif s.sigma > 0:
            eps = 0.5 * (prediction.eps + state.predict(ddim, s).eps)
        else:
            return ddim, prediction
        return ddim + (s.sigma - s.alpha * t.sigma / t.alpha) * (eps - prediction.eps), prediction
