"""Samplers that add noise: which variance, and the moments of what they make from Gaussian data."""

import math

import numpy as np
import pytest
import torch
from sampler_cases import CASES, make
from torch import Tensor

from ablatent.checks.gaussian import FRACTION, MEAN, STD, exact, linear, moments, noises
from ablatent.checks.sampler import ANY_STEPS
from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.dpm_solver_sde import DPMSolverSDE
from ablatent.schedules.discrete import DiscreteSchedule

STOCHASTIC = [case for case in CASES if make(case).stochastic]


def pair(a: Sampler, b: Sampler, fraction: float = FRACTION) -> tuple[Tensor, Tensor]:
    """What two samplers make from equal noises, with this fraction predicted."""
    s = linear()
    x, z = noises(1, (3, 1, 2, 2))[0], noises(a.steps, (3, 1, 2, 2), 1)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        p = exact(s)(x, t)
        return Prediction(p.x0, p.eps, torch.full_like(p.x0, fraction))

    first, second = (sampler(denoise, s, x, lambda i: z[i]) for sampler in (a, b))
    return first, second


@pytest.mark.parametrize("steps", [1, 2, 10, 37, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("grid", ANY_STEPS)
def test_ddim_with_eta_1_is_ddpm_with_beta_tilde(grid: str, steps: int) -> None:
    a, b = pair(DDIM(steps=steps, grid=grid, eta=1.0), DDPM(steps=steps, grid=grid, variance="beta_tilde"))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_and_last_step_of_the_sde_solver_are_ddpm(steps: int) -> None:
    a, b = pair(DPMSolverSDE(steps=steps), DDPM(steps=steps))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("variance", "fraction", "same"),
    [("sigma_hat", 0.5, "beta"), ("learned", 1.0, "beta"), ("learned", 0.0, "beta_tilde")],
)
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_variances_that_are_the_same(steps: int, variance: str, fraction: float, same: str) -> None:
    a, b = pair(DDPM(steps=steps, variance=variance), DDPM(steps=steps, variance=same), fraction)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_sigma_hat_is_table_1_of_ddim() -> None:
    """sqrt(1 - alpha_bar_t / alpha_bar_s) of the steps really taken, read off a step by its response to noise."""
    s, sampler = linear(), DDPM(steps=10, variance="sigma_hat")
    ab = s.alphas_cumprod[torch.from_numpy(sampler.times(s)[:-1]).long()]
    states: list[list[Tensor]] = []
    for z in (0.0, 1.0):
        path: list[Tensor] = []

        def on_step(i: int, t: float, x: Tensor, p: Prediction, path: list[Tensor] = path) -> Tensor:
            path.append(x)
            return torch.zeros_like(x)

        x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        sampler(exact(s), s, x, lambda i, z=z, x=x: torch.full_like(x, z), on_step)
        states.append(path)
    got = torch.stack(states[1]).flatten() - torch.stack(states[0]).flatten()
    torch.testing.assert_close(got[:-1], torch.sqrt(1 - ab[:-1] / ab[1:]), rtol=1e-12, atol=0)
    assert got[-1] == 0


@pytest.mark.parametrize("variance", ["beta", "beta_tilde", "learned"])
@pytest.mark.parametrize("fraction", [0.25, 1.1])  # a little beyond 1: believed, not clipped
def test_ddpm_over_all_times_is_ho_et_al(variance: str, fraction: float) -> None:
    """Algorithm 2 written with the published betas, one time after the other; eq. 15 of Nichol & Dhariwal."""
    s = linear(T=60)
    x, z = noises(1, (3, 1, 2, 2))[0], noises(60, (3, 1, 2, 2), 1)
    y, beta, ab = x, s.betas, s.alphas_cumprod

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        p = exact(s)(x, t)
        return Prediction(p.x0, p.eps, torch.full_like(p.x0, fraction))

    for i, t in enumerate(range(59, -1, -1)):
        eps = denoise(y, torch.full((3,), t)).eps
        y = (y - beta[t] / (1 - ab[t]).sqrt() * eps) / (1 - beta[t]).sqrt()
        if t > 0:
            tilde = beta[t] * (1 - ab[t - 1]) / (1 - ab[t])
            v = {"beta": 1.0, "beta_tilde": 0.0, "learned": fraction}[variance]
            y = y + z[i] * torch.exp(v * beta[t].log() + (1 - v) * tilde.log()).sqrt()
    torch.testing.assert_close(DDPM(steps=60, variance=variance)(denoise, s, x, lambda i: z[i]), y)


def propagated(s: DiscreteSchedule, times: np.ndarray, variance: str) -> tuple[float, float]:
    """Mean and variance of the chain's last state, from x_T ~ N(0, 1): the posterior of Ho et al. (eq. 7) with the
    exact E[x_0 | x_t], which is linear in x_t."""
    alpha, sigma = (v.tolist() for v in s.alpha_sigma(torch.from_numpy(times)))
    mean, var = 0.0, 1.0
    for i in range(len(times) - 1):
        a, b, sa, sb = alpha[i], alpha[i + 1], sigma[i], sigma[i + 1]
        beta = 1 - a**2 / b**2
        gain = a * STD**2 / (a**2 * STD**2 + sa**2)
        from_x, from_x0 = a / b * sb**2 / sa**2, b * beta / sa**2
        factor, shift = from_x + from_x0 * gain, from_x0 * MEAN * (1 - gain * a)
        mean, var = factor * mean + shift, factor**2 * var
        if sb > 0:
            var += beta if variance == "beta" else beta * sb**2 / sa**2
    return mean, var


@pytest.mark.parametrize(
    ("sampler", "variance"),
    [
        (DDPM(steps=20, variance="beta"), "beta"),
        (DDPM(steps=20, variance="beta_tilde"), "beta_tilde"),
        (DDPM(steps=7, grid="linspace", variance="beta"), "beta"),
        (DDIM(steps=20, eta=1.0), "beta_tilde"),
    ],
)
def test_exact_moments_are_those_of_the_chain_by_hand(sampler: Sampler, variance: str) -> None:
    s = linear()
    assert moments(sampler, s, 0.0, 1.0) == pytest.approx(propagated(s, sampler.times(s), variance), rel=1e-9)


@pytest.mark.parametrize("case", STOCHASTIC)
def test_mean_and_covariance_are_those_of_the_chain(case: str) -> None:
    """50,000 samples of four pixels: each number within 4.5 standard errors of its exact value."""
    s, sampler, n = linear(), make(case, 20), 50_000
    mean, var = moments(sampler, s, 0.0, 1.0)
    shape = (n, 1, 2, 2)
    x = sampler(exact(s), s, noises(1, shape, 99)[0], lambda i: noises(1, shape, 100 + i)[0]).flatten(1)
    off = ~torch.eye(4, dtype=torch.bool)
    covariance = torch.cov(x.T)
    assert float((x.mean(dim=0) - mean).abs().max()) < 4.5 * math.sqrt(var / n)
    assert float((covariance.diagonal() - var).abs().max()) < 4.5 * var * math.sqrt(2 / n)
    assert float(covariance[off].abs().max()) < 4.5 * var / math.sqrt(n)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_the_full_chain_reaches_the_data(variance: str) -> None:
    s = linear()
    mean, var = propagated(s, DDPM(steps=1000).times(s), variance)
    assert mean == pytest.approx(MEAN, rel=0.01) and math.sqrt(var) == pytest.approx(STD, rel=0.02)
