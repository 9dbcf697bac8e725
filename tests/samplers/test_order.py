"""The measure of the order of convergence, `ablatent.checks.sampler.converges_in_its_order`, can tell orders apart."""

import pytest
import torch
from sampler_cases import option

from ablatent.checks.flow import STEPS, solution
from ablatent.checks.gaussian import MEAN, STD, cosine, exact, linear, no_noise, noises, slope
from ablatent.checks.sampler import errors_of
from ablatent.samplers.ddim import DDIM


def test_the_reference_has_converged() -> None:
    assert float((solution(cosine(), 500) - solution(cosine())).abs().max()) < 1e-10


@pytest.mark.parametrize(("case", "max_slope"), [("ddim", 1.3), ("heun", 2.6), ("dpm_solver", 2.6), ("ddpm", 1.3)])
def test_the_measure_can_tell_orders_apart(case: str, max_slope: float) -> None:
    assert slope(STEPS, errors_of(option(case))) < max_slope


def test_the_released_third_order_is_of_second() -> None:
    released, full = (option("dpm_solver_3").with_values(released=flag) for flag in (True, False))
    assert 1.7 < slope(STEPS, errors_of(released)) < 2.7 < slope(STEPS, errors_of(full))


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
