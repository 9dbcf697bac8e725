"""The order of convergence of every sampler of conf/sampler is the declared one.

Between two times inside the schedule, at real times that are smooth in the step's number: neither the start from noise
nor the step to the clean state, which have orders of their own. Deterministic samplers follow the probability flow ODE
of a mixture of three Gaussians; a stochastic one is judged by mean and variance, from the true marginal of Gaussian
data to the true marginal (weak order), computed without a random number.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from sampler_cases import (
    MEAN,
    STD,
    cosine,
    every_case,
    exact,
    linear,
    make,
    mixture,
    mixture_x0,
    moments,
    no_noise,
    noises,
    slope,
)
from torch import Tensor

from ablatent.samplers.base import Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.schedules.base import NoiseSchedule

FIRST, LAST = 900.0, 100.0
STEPS = [20, 40, 80, 160]
STARTS = torch.tensor([-2.0, -0.6, 0.3, 1.1], dtype=torch.float64).reshape(4, 1, 1, 1)


def ends(s: NoiseSchedule) -> tuple[list[float], list[float]]:
    alpha, sigma = s.alpha_sigma(torch.tensor([FIRST, LAST]))
    return alpha.tolist(), sigma.tolist()


def slope_of_flow(y: Tensor, log_k: float) -> Tensor:
    """d(x / alpha) / d log k = k eps at y = x / alpha, k = sigma / alpha."""
    k = torch.tensor(np.exp(log_k), dtype=torch.float64)
    alpha = 1 / torch.sqrt(1 + k**2)
    x = alpha * y
    return (x - alpha * mixture_x0(x, alpha, k * alpha)) / alpha


@cache
def solution(n: int = 1000) -> Tensor:
    """Where STARTS arrive: the classical Runge-Kutta method of fourth order in log k."""
    alpha, sigma = ends(cosine())
    first, last = np.log(sigma[0] / alpha[0]), np.log(sigma[1] / alpha[1])
    y, h = STARTS / alpha[0], (last - first) / n
    for i in range(n):
        at = first + i * h
        a = slope_of_flow(y, at)
        b = slope_of_flow(y + 0.5 * h * a, at + 0.5 * h)
        c = slope_of_flow(y + 0.5 * h * b, at + 0.5 * h)
        d = slope_of_flow(y + h * c, at + h)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return alpha[1] * y


def test_the_reference_has_converged() -> None:
    assert float((solution(500) - solution()).abs().max()) < 1e-10


@cache
def errors_of(case: str) -> list[float]:
    return [error(make(case, n), n) for n in STEPS]


def error(sampler: Sampler, n: int) -> float:
    """Of the state, or of mean and variance."""
    s, times = cosine(), np.linspace(FIRST, LAST, n + 1)
    if not sampler.stochastic:
        return float((sampler(mixture(s), s, STARTS, no_noise, times=times) - solution()).abs().max())
    alpha, sigma = ends(s)
    true = [(a * MEAN, a**2 * STD**2 + b**2) for a, b in zip(alpha, sigma, strict=True)]
    mean, var = moments(sampler, s, *true[0], times=times)
    return abs(mean - true[1][0]) + abs(var - true[1][1])


@every_case
def test_measured_order_is_at_least_the_declared_one(case: str, record_property: Callable[[str, object], None]) -> None:
    errors = errors_of(case)
    measured = slope(STEPS, errors)
    record_property("slope", measured)
    assert measured >= make(case).order - 0.3, errors
    assert errors[-1] < 0.02, errors


@pytest.mark.parametrize(("case", "max_slope"), [("ddim", 1.3), ("heun", 2.6), ("dpm_solver", 2.6), ("ddpm", 1.3)])
def test_the_measure_can_tell_orders_apart(case: str, max_slope: float) -> None:
    assert slope(STEPS, errors_of(case)) < max_slope


def test_ddim_converges_over_the_whole_grid() -> None:
    """Gaussian data: (x - alpha m) / sqrt(alpha² c² + sigma²) is constant along the exact solution."""
    s, steps, errors = linear(), [25, 50, 100, 200, 500], []
    x = torch.tensor([-1.5, -0.3, 0.4, 2.0], dtype=torch.float64).reshape(4, 1, 1, 1)
    (a,), (b,) = (v.tolist() for v in s.alpha_sigma(torch.tensor([999.0])))
    expected = MEAN + STD / (a**2 * STD**2 + b**2) ** 0.5 * (x - a * MEAN)
    for n in steps:
        errors.append(float((DDIM(steps=n)(exact(s), s, x, no_noise) - expected).abs().max()))
    assert 0.8 < slope(steps, errors) < 1.3, errors
    assert errors[-1] < 0.01


def test_ddim_is_euler_in_sigma_over_alpha() -> None:
    s, sampler = linear(), DDIM(steps=13)
    x = noises(1, (4, 1, 1, 1))[0]
    alpha, sigma = s.alpha_sigma(torch.from_numpy(sampler.times(s)))
    y, k = x / alpha[0], sigma / alpha
    for i, t in enumerate(sampler.times(s)[:-1]):
        y = y + (k[i + 1] - k[i]) * exact(s)(alpha[i] * y, torch.full((4,), t)).eps
    torch.testing.assert_close(sampler(exact(s), s, x, no_noise), y, rtol=1e-9, atol=1e-9)
