"""DDIM inversion: there and back again, on a mixture whose denoiser is exact."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ablatent.checks.gaussian import MEAN, MEANS, STD, cosine, exact, linear, mixture, no_noise, noises, slope
from ablatent.checks.sampler import ANY_STEPS
from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.inversion import invert
from ablatent.schedules.base import NoiseSchedule

STEPS = [50, 100, 250, 1000]


def images() -> Tensor:
    """One pixel value in each component of the mixture, and some in between."""
    return torch.tensor([*MEANS, -1.4, -0.5, 0.7, 1.8], dtype=torch.float64).reshape(-1, 1, 1, 1)


def there_and_back(s: NoiseSchedule, steps: int) -> float:
    x_T = invert(mixture(s), s, images(), steps)
    return float((DDIM(steps=steps)(mixture(s), s, x_T, no_noise) - images()).abs().max())


@pytest.mark.parametrize("schedule", [linear, pytest.param(cosine, marks=pytest.mark.slow)])
def test_there_and_back_converges(
    schedule: Callable[[], NoiseSchedule], record_property: Callable[[str, object], None]
) -> None:
    errors = [there_and_back(schedule(), n) for n in STEPS]
    record_property("errors", errors)
    assert slope(STEPS, errors) > 0.95, errors
    assert errors[-1] < 1e-2, errors


def test_it_finds_the_noise_of_the_flow() -> None:
    """Gaussian data: (x - alpha m) / sqrt(alpha² c² + sigma²) is constant along the exact solution."""
    s, x0 = linear(), torch.tensor([-0.5, 0.7, 1.4], dtype=torch.float64).reshape(3, 1, 1, 1)
    (a,), (b,) = (v.tolist() for v in s.alpha_sigma(torch.tensor([999.0])))
    expected = a * MEAN + (a**2 * STD**2 + b**2) ** 0.5 * (x0 - MEAN) / STD
    errors = [float((invert(exact(s), s, x0, n) - expected).abs().max()) for n in STEPS]
    assert slope(STEPS[-2:], errors[-2:]) > 0.9 and errors[-1] < 1e-2, errors  # slower at first: towards it from below


@pytest.mark.parametrize("grid", ANY_STEPS)
@pytest.mark.parametrize("steps", [1, 2, 7, 48])
def test_it_walks_a_samplers_times_upwards(grid: str, steps: int) -> None:
    s, sampler = linear(), DDIM(steps=steps, grid=grid)
    times = sampler.times(s)
    calls, seen = [], []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        calls.append(float(t[0]))
        return mixture(s)(x, t)

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        seen.append((i, t))
        return x

    x = invert(denoise, s, images(), times, on_step)
    assert bool(torch.isfinite(x).all())
    assert seen == list(enumerate(times[::-1].tolist()[1:]))
    # the first noisy time twice: once for the step from the clean state, once for the step from there
    assert calls == [times[-2], *times[::-1].tolist()[1:-1]] and len(calls) == steps


def test_the_first_steps_by_hand() -> None:
    s, x0 = linear(), images()
    first, second = 499.0, 999.0
    (a1, a2), (b1, b2) = (v.tolist() for v in s.alpha_sigma(torch.tensor([first, second])))
    x = a1 * x0 + b1 * mixture(s)(a1 * x0, torch.full((len(x0),), first)).eps
    p = mixture(s)(x, torch.full((len(x0),), first))
    torch.testing.assert_close(invert(mixture(s), s, x0, 2), a2 * p.x0 + b2 * p.eps, rtol=1e-12, atol=1e-12)


def test_between_noisy_times_no_clean_state_is_needed() -> None:
    s, times = cosine(), np.linspace(900, 100, 401)
    x = noises(1, (5, 1, 2, 2))[0]
    back = DDIM(steps=1)(mixture(s), s, invert(mixture(s), s, x, times), no_noise, times=times)
    torch.testing.assert_close(back, x, rtol=0, atol=0.02)


def test_up_to_zero_snr_it_is_finite() -> None:
    s = linear(zero=True)
    assert bool(torch.isfinite(invert(mixture(s), s, images(), 20)).all())


def test_dtype_and_batch() -> None:
    s, x0 = linear(), images()
    whole = invert(mixture(s), s, x0, 20)
    torch.testing.assert_close(invert(mixture(s), s, x0[2:3], 20), whole[2:3], rtol=1e-12, atol=1e-12)
    single = invert(mixture(s), s, x0.float(), 20)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=1e-4, atol=1e-4)


def test_refusals() -> None:
    s, x0 = linear(), images()
    with pytest.raises(ValueError, match="float32"):
        invert(mixture(s), s, x0.half(), 20)
    with pytest.raises(ValueError, match="descending"):
        invert(mixture(s), s, x0, np.array([-1.0, 10.0, 20.0]))
    with pytest.raises(ConfigError, match=r"sampler\.steps"):
        invert(mixture(s), s, x0, 1001)
