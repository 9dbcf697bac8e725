"""The exact solution of the probability flow ODE of the mixture, between two times inside a schedule, and how far from
it samplers arrive."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.gaussian import MEAN, STD, mixture, mixture_x0, moments, no_noise
from ablatent.samplers.base import Node, Sampler, nodes_of
from ablatent.schedules.base import NoiseSchedule

FIRST, LAST = 900.0, 100.0
"""The times between which samplers are compared with it."""
STARTS = (-2.0, -0.6, 0.3, 1.1)
"""First states, in deviations of x_t for data of unit variance."""
STEPS = (20, 40, 80, 160)
"""Of the measured order of convergence."""


def ends(s: NoiseSchedule) -> tuple[Node, Node]:
    """The nodes at FIRST and LAST."""
    first, last = nodes_of(s, np.array([FIRST, LAST]))
    return first, last


def starts(s: NoiseSchedule) -> Tensor:
    """STARTS at FIRST as a batch of single pixels."""
    return ends(s)[0].variance ** 0.5 * torch.tensor(STARTS, dtype=torch.float64).reshape(-1, 1, 1, 1)


def solution(s: NoiseSchedule, n: int = 1000) -> Tensor:
    """Where STARTS arrive, by n steps of the classical Runge-Kutta method of fourth order."""
    first, last = ends(s)
    start = first.variance**0.5 / first.alpha
    return last.alpha * _solved(start, first.sigma / first.alpha, last.sigma / last.alpha, n)


def _slope_of_flow(y: Tensor, log_k: float) -> Tensor:
    """d(x / alpha) / d log k = k eps at y = x / alpha, k = sigma / alpha."""
    return y - mixture_x0(y, torch.ones((), dtype=torch.float64), torch.tensor(np.exp(log_k), dtype=torch.float64))


@cache
def _solved(start: float, first: float, last: float, n: int) -> Tensor:
    """x / alpha at sigma / alpha = last of `start` times STARTS at `first`, in n steps of log(sigma / alpha)."""
    y = start * torch.tensor(STARTS, dtype=torch.float64).reshape(-1, 1, 1, 1)
    h = (np.log(last) - np.log(first)) / n
    for i in range(n):
        at = np.log(first) + i * h
        a = _slope_of_flow(y, at)
        b = _slope_of_flow(y + 0.5 * h * a, at + 0.5 * h)
        c = _slope_of_flow(y + 0.5 * h * b, at + 0.5 * h)
        d = _slope_of_flow(y + h * c, at + h)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y


def times(n: int, order: int) -> np.ndarray:
    """n steps from FIRST to LAST, at real times that are smooth in the step's number: of equal distances up to second
    order, and for higher orders shorter at the beginning, FIRST - (FIRST - LAST) (i / n)^(order / 2).

    Methods of several steps begin with one of first order, whose error is the square of its length; so it has to fall
    as n^(-order / 2) for the rest to be seen.
    """
    return FIRST + (LAST - FIRST) * np.linspace(0.0, 1.0, n + 1) ** max(order / 2, 1.0)


def errors(make: Callable[[int], Sampler], s: NoiseSchedule, steps: Sequence[int] = STEPS) -> list[float]:
    """The error of a sampler in each number of steps, at `times`: neither the start from noise nor the step to the
    clean state, which have orders of their own.

    Of deterministic samplers against the probability flow ODE of the mixture; of a stochastic one in mean and
    variance, from the true marginal of Gaussian data to the true marginal (weak order), without a random number.
    """
    return [_error(make(n), s, n) for n in steps]


def _error(sampler: Sampler, s: NoiseSchedule, n: int) -> float:
    at = times(n, sampler.order)
    if not sampler.stochastic:
        return float((sampler(mixture(s), s, starts(s), no_noise, times=at) - solution(s)).abs().max())
    true = [(node.alpha * MEAN, node.alpha**2 * STD**2 + node.sigma**2) for node in ends(s)]
    mean, var = moments(sampler, s, *true[0], times=at)
    return abs(mean - true[1][0]) + abs(var - true[1][1])
