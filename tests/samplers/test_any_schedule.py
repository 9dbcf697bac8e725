"""Samplers where alpha² + sigma² is not 1: the first state, EDM's churn; their invariants are in test_samplers.py."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ablatent.checks.flow import starts
from ablatent.checks.gaussian import MEAN, STD, edm, exact, linear, mixture, moments, no_noise, noises, rectified_flow
from ablatent.core.errors import ConfigError
from ablatent.samplers.base import Node, nodes_of
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM, beta_between
from ablatent.samplers.euler import Euler
from ablatent.samplers.flow_heun import FlowHeun
from ablatent.samplers.grids import RHO, time_grid
from ablatent.samplers.heun import Heun
from ablatent.samplers.inversion import invert
from ablatent.samplers.resampled import Resampled
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.edm import EDM

every_schedule = pytest.mark.parametrize("s", [rectified_flow(), edm()], ids=["flow", "edm"])


def test_the_first_state_has_the_deviation_of_x_t() -> None:
    eps = noises(1, (3, 1, 2, 2))[0]
    for start in (1.0, 0.3):  # to the bit
        assert DDIM(steps=3, start=start).initial_state(linear(), eps) is eps
    torch.testing.assert_close(DDIM(steps=3).initial_state(edm(), eps), math.sqrt(1 + 80**2) * eps, rtol=1e-12, atol=0)
    assert torch.equal(DDIM(steps=3).initial_state(rectified_flow(), eps), eps)
    half = DDIM(steps=3, start=0.5).initial_state(rectified_flow(), eps)
    torch.testing.assert_close(half, math.sqrt(0.5) * eps, rtol=1e-12, atol=0)
    resampled = Resampled(DDIM(steps=3), 2).initial_state(edm(), eps)
    assert torch.equal(resampled, DDIM(steps=3).initial_state(edm(), eps))


@every_schedule
def test_the_variance_of_a_step(s: NoiseSchedule) -> None:
    """q(x_t | x_s) q(x_s | x_0) is q(x_t | x_0), and the chain of betas stays the marginal of data of unit variance."""
    t, u = nodes_of(s, np.array([700.0, 400.0]))
    beta, ratio = beta_between(t, u), t.alpha / u.alpha
    assert (ratio * u.sigma) ** 2 + beta == pytest.approx(t.sigma**2, rel=1e-12)
    true = u.variance - (ratio * u.variance) ** 2 / t.variance  # of x_s given x_t, for x_0 ~ N(0, 1)
    assert beta * u.variance / t.variance == pytest.approx(true, rel=1e-9)

    def unit(x: Tensor, at: Tensor) -> object:
        p = exact(s)(x, at)
        p.x0[:] = t.alpha / t.variance * x
        return p

    def after(z: float) -> float:
        sampler, x = DDPM(steps=1, variance="beta"), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        return float(sampler(unit, s, x, lambda i: torch.full_like(x, z), times=np.array([700.0, 400.0])))

    assert (after(1.0) - after(0.0)) ** 2 == pytest.approx(true, rel=1e-9)


def test_the_variance_of_a_step_keeps_its_bits_where_variance_is_preserved() -> None:
    t, u = nodes_of(linear(), np.array([700.0, 400.0]))
    assert beta_between(t, u) == 1.0 - (t.alpha / u.alpha) ** 2
    assert t.variance == 1.0 and Node(0.0, 0.6, 0.6, False).variance == pytest.approx(0.72)


@pytest.mark.parametrize("s", [linear(), rectified_flow(), edm()], ids=["linear", "flow", "edm"])
def test_euler_is_ddim_and_flow_heun_is_heun_without_alpha(s: NoiseSchedule) -> None:
    x = DDIM(steps=7).initial_state(s, noises(1, (3, 1, 2, 2))[0])
    euler, ddim = (c(steps=7)(mixture(s), s, x, no_noise) for c in (Euler, DDIM))
    torch.testing.assert_close(euler, ddim, rtol=1e-9, atol=1e-9)
    if isinstance(s, EDM):
        a, b = (c(steps=7)(mixture(s), s, x, no_noise) for c in (Heun, FlowHeun))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_grids_of_flows() -> None:
    s, S = rectified_flow(), 7
    assert time_grid("uniform", s, 4).tolist() == [999, 749, 499, 249, -1]
    u = s.alpha_sigma(torch.from_numpy(time_grid("uniform", s, S)))[1]
    np.testing.assert_allclose(u, np.arange(S, -1, -1) / S, rtol=0, atol=1e-15)
    for grid in ("log_snr", "karras"):
        with pytest.raises(ConfigError, match="zero SNR"):
            time_grid(grid, s, S)
        assert time_grid(grid, s, S, start=0.9)[0] == 899


def test_the_karras_grid_is_table_1_of_edm() -> None:
    s, n = edm(), 18
    sigma = s.alpha_sigma(torch.from_numpy(time_grid("karras", s, n)))[1]
    ramp = np.arange(n) / (n - 1)
    wanted = (80 ** (1 / RHO) + ramp * (0.002 ** (1 / RHO) - 80 ** (1 / RHO))) ** RHO
    np.testing.assert_allclose(sigma, [*wanted, 0.0], rtol=1e-9)


def algorithm_2(sampler: Heun, sigmas: list[float], x: Tensor, z: Tensor, x0: object) -> Tensor:
    """Karras et al. 2022, algorithm 2, whose network takes sigmas up to 80."""
    N = len(sigmas) - 1
    for i, (t, s) in enumerate(itertools.pairwise(sigmas)):
        inside = sampler.s_tmin <= t <= (sampler.s_tmax or math.inf)
        gamma = min(sampler.s_churn / N, math.sqrt(2) - 1) if inside else 0.0
        hat = min(t + gamma * t, 80.0)
        x = x + math.sqrt(max(hat**2 - t**2, 0.0)) * sampler.s_noise * z[i]
        d = (x - x0(x, hat)) / hat
        following = x + (s - hat) * d
        if s != 0:
            following = x + (s - hat) * (0.5 * d + 0.5 * (following - x0(following, s)) / s)
        x = following
    return x


CHURNS = [
    {"s_churn": 40.0},  # limited to sqrt(2) - 1
    {"s_churn": 3.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003},
    {"s_churn": 3.0, "s_tmin": 100.0},  # none
]


@pytest.mark.parametrize("knobs", CHURNS)
def test_heun_with_churn_is_algorithm_2(knobs: dict[str, float]) -> None:
    s, sampler = edm(), Heun(steps=18, grid="karras", **knobs)
    sigmas = s.alpha_sigma(torch.from_numpy(sampler.times(s)))[1].tolist()
    x, z = 80 * noises(1, (3, 1, 2, 2))[0], noises(18, (3, 1, 2, 2), 1)

    def x0(y: Tensor, sigma: float) -> Tensor:
        t = s.t_of_log_snr(torch.tensor([-2 * math.log(sigma)]))
        return mixture(s)(y, t.expand(len(y))).x0

    got = sampler(mixture(s), s, x, z.__getitem__)
    torch.testing.assert_close(got, algorithm_2(sampler, sigmas, x, z, x0), rtol=1e-6, atol=1e-7)


def test_without_churn_not_a_bit_changes() -> None:
    s, x = edm(), 80 * noises(1, (3, 1, 2, 2))[0]
    plain = Heun(steps=9)(mixture(s), s, x, no_noise)
    with pytest.raises(ConfigError, match="adds no noise"):
        Heun(steps=9, s_noise=2.0)
    outside = Heun(steps=9, s_churn=5.0, s_tmin=100.0)(mixture(s), s, x, no_noise)
    assert torch.equal(outside, plain)


@pytest.mark.parametrize("s_noise", [1.0, 1.01])
def test_moments_of_churn_are_those_propagated_by_hand(s_noise: float) -> None:
    """Gaussian data: x_0 is linear in x, so that algorithm 2 carries mean and variance from step to step."""
    s, sampler = edm(), Heun(steps=18, grid="karras", s_churn=10.0, s_noise=s_noise)
    sigmas = s.alpha_sigma(torch.from_numpy(sampler.times(s)))[1].tolist()
    mean, var = 0.0, 80.0**2
    for t, u in itertools.pairwise(sigmas):
        hat = min(t * (1 + 10 / 18), t * math.sqrt(2), 80.0)
        var += (hat**2 - t**2) * s_noise**2
        # d = (x - x_0) / sigma = slope (x - MEAN)
        slope, end = hat / (STD**2 + hat**2), u / (STD**2 + u**2)
        factor = 1 + (u - hat) * slope
        if u > 0:
            factor = 1 + (u - hat) * 0.5 * (slope + end * factor)
        mean, var = MEAN + factor * (mean - MEAN), factor**2 * var
    assert moments(sampler, s, 0.0, 80.0**2) == pytest.approx((mean, var), rel=1e-7)


def test_churn_keeps_the_marginals() -> None:
    """Exact moments after many steps, where noise is added again and again."""
    s, sampler = edm(), Heun(steps=200, grid="karras", s_churn=80.0)
    mean, var = moments(sampler, s, MEAN, STD**2 + 80.0**2)
    assert mean == pytest.approx(MEAN, rel=1e-3) and math.sqrt(var) == pytest.approx(STD, rel=0.01)


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"s_churn": -1.0}, "s_churn"),
        ({"s_tmin": -0.1}, "s_tmin"),
        ({"s_tmin": 2.0, "s_tmax": 1.0}, "s_tmax"),
        ({"s_noise": 0.0}, "s_noise"),
    ],
)
def test_churn_outside_its_range(knobs: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=f"sampler.{key}"):
        Heun(steps=5, **knobs)


@every_schedule
def test_inversion_and_back(s: NoiseSchedule) -> None:
    x0 = torch.tensor([-1.0, 0.1, 1.3], dtype=torch.float64).reshape(3, 1, 1, 1)
    times = time_grid("uniform", s, 200, start=0.9)
    back = DDIM(steps=200)(mixture(s), s, invert(mixture(s), s, x0, times), no_noise, times=times)
    torch.testing.assert_close(back, x0, rtol=0, atol=0.1)


@every_schedule
def test_repeated_steps_go_back_to_the_level_they_came_from(s: NoiseSchedule) -> None:
    """RePaint's way back keeps the moments of Gaussian data."""
    x = starts(s)
    t, u = 700.0, 400.0
    (low, high), z = nodes_of(s, np.array([u, t])), torch.ones_like(x)
    back = Resampled(DDIM(steps=1), 2)._back(s, x, u, t, z) - Resampled(DDIM(steps=1), 2)._back(s, x, u, t, 0 * z)
    variance = (high.alpha / low.alpha * low.sigma) ** 2 + float(back.flatten()[0]) ** 2
    assert variance == pytest.approx(high.sigma**2, rel=1e-12)
