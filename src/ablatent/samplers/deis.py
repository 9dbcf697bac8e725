"""DEIS: Adams-Bashforth steps of third order that are exact for the linear part of the flow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import OneOf
from ablatent.core.types import Prediction
from ablatent.samplers.base import Node, Sampler, SolverState
from ablatent.schedules.base import NoiseSchedule

VARIABLES = ("t", "log_rho")
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Of the Gauss-Legendre rule on [-1, 1]."""


@dataclass(frozen=True)
class DEIS(Sampler):
    """x_s / alpha_s = x_t / alpha_t + integral of eps d rho, rho = sigma / alpha, eps a parabola through the last three
    estimates (Zhang & Chen 2023, "DEIS", eq. 14 and 15): one denoiser call a step.

    variable: in what eps is a parabola: t, time (their tAB), or log_rho (what diffusers calls logrho). The integrals
    are taken by a Gauss-Legendre rule in log rho. The first step and the last, to the clean state, are steps of DDIM,
    the second looks back on two estimates. For log_rho that of zero SNR, where rho is infinite, does not count.
    """

    variable: Annotated[
        str, OneOf(VARIABLES), "in what eps is a parabola: t (tAB-DEIS), or log_rho (as in diffusers)"
    ] = "t"

    order: ClassVar[int] = 3
    keep: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variable not in VARIABLES:
            hint = did_you_mean(self.variable, VARIABLES)
            raise ConfigError("sampler.variable", f"one of {', '.join(VARIABLES)}", self.variable, hint)

    def step(
        self, state: SolverState, i: int, x: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = state.nodes[i], state.nodes[i + 1]
        prediction = state.predict(x, t)
        ddim = s.alpha * prediction.x0 + s.sigma * prediction.eps
        known = [(self._place(n), p) for n, p in zip(state.nodes[:i][-self.keep :], state.predictions, strict=True)]
        known = [(place, p) for place, p in [*known, (self._place(t), prediction)] if math.isfinite(place)]
        if s.sigma == 0 or t.alpha == 0 or len(known) == 1:
            return ddim, prediction
        eps = torch.zeros_like(prediction.eps)
        for weight, (_, p) in zip(
            self._weights(state.schedule, t, s, [place for place, _ in known]), known, strict=True
        ):
            eps = eps + weight * p.eps
        return ddim + (s.sigma - s.alpha * t.sigma / t.alpha) * (eps - prediction.eps), prediction

    def _place(self, node: Node) -> float:
        """The variable of eps at a node."""
        return node.t if self.variable == "t" else -node.half_log_snr

    def _weights(self, schedule: NoiseSchedule, t: Node, s: Node, places: Sequence[float]) -> list[float]:
        """The shares of the estimates at these places in the mean of eps over rho from t to s; they add up to 1."""
        middle, half = -0.5 * (t.half_log_snr + s.half_log_snr), 0.5 * (t.half_log_snr - s.half_log_snr)
        log_rho = middle + half * POINTS
        at = log_rho if self.variable == "log_rho" else _times(schedule, log_rho)
        measure = WEIGHTS * np.exp(log_rho - middle)  # d rho, up to a factor
        lagrange = [np.prod([(at - q) / (p - q) for q in places if q != p], axis=0) for p in places]
        return [float(measure @ share / measure.sum()) for share in lagrange]


def _times(schedule: NoiseSchedule, log_rho: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return schedule.t_of_log_snr(torch.from_numpy(-2.0 * log_rho)).cpu().numpy()
