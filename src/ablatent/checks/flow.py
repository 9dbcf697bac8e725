"""The exact solution of the probability flow ODE of the mixture, between two times inside the schedule."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.gaussian import cosine, mixture_x0
from ablatent.schedules.base import NoiseSchedule

FIRST, LAST = 900.0, 100.0
"""The times between which samplers are compared with it."""
STARTS = (-2.0, -0.6, 0.3, 1.1)


def starts() -> Tensor:
    """STARTS as a batch of single pixels."""
    return torch.tensor(STARTS, dtype=torch.float64).reshape(-1, 1, 1, 1)


def ends(s: NoiseSchedule) -> tuple[list[float], list[float]]:
    """(alphas, sigmas) at FIRST and LAST."""
    alpha, sigma = s.alpha_sigma(torch.tensor([FIRST, LAST]))
    return alpha.tolist(), sigma.tolist()


def _slope_of_flow(y: Tensor, log_k: float) -> Tensor:
    """d(x / alpha) / d log k = k eps at y = x / alpha, k = sigma / alpha."""
    k = torch.tensor(np.exp(log_k), dtype=torch.float64)
    alpha = 1 / torch.sqrt(1 + k**2)
    x = alpha * y
    return (x - alpha * mixture_x0(x, alpha, k * alpha)) / alpha


@cache
def solution(n: int = 1000) -> Tensor:
    """Where STARTS arrive: the classical Runge-Kutta method of fourth order in log k, in n steps."""
    alpha, sigma = ends(cosine())
    first, last = np.log(sigma[0] / alpha[0]), np.log(sigma[1] / alpha[1])
    y, h = starts() / alpha[0], (last - first) / n
    for i in range(n):
        at = first + i * h
        a = _slope_of_flow(y, at)
        b = _slope_of_flow(y + 0.5 * h * a, at + 0.5 * h)
        c = _slope_of_flow(y + 0.5 * h * b, at + 0.5 * h)
        d = _slope_of_flow(y + h * c, at + h)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return alpha[1] * y
