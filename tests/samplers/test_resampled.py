"""Steps that are repeated, with noise in between (RePaint); the variance of the way back: test_any_schedule.py."""

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.gaussian import exact, linear, noises
from ablatent.core.types import Prediction
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.resampled import Resampled


def test_once_is_the_sampler_itself() -> None:
    sampler = DDIM(steps=3)
    assert Resampled.of(sampler, 1) is sampler
    twice = Resampled.of(sampler, 2)
    assert isinstance(twice, Resampled) and twice.steps == 6


def test_every_repetition_is_a_step_with_noise_of_its_own() -> None:
    s, sampler = linear(), DDIM(steps=3, eta=1.0)
    drawn: list[int] = []
    steps: list[tuple[int, float]] = []

    def noise(i: int) -> Tensor:
        drawn.append(i)
        return noises(i + 1, (2, 1, 2, 2))[i]

    def on_step(i: int, at: float, x: Tensor, p: Prediction) -> Tensor:
        steps.append((i, at))
        return x

    Resampled(sampler, 2)(exact(s), s, noises(1, (2, 1, 2, 2))[0], noise, on_step)
    times = sampler.times(s)[1:].tolist()
    assert steps == list(enumerate(t for at in times for t in (at, at)))
    # 2k is the noise of step k, 2k - 1 that of the way back to it; the last two steps reach the clean state, without.
    assert drawn == [0, 1, 2, 4, 5, 6, 9]


def test_a_repetition_goes_on_from_what_on_step_gave() -> None:
    s, x = linear(), noises(1, (1, 1, 1, 1))[0]
    seen: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        seen.append(x)
        return exact(s)(x, t)

    def on_step(i: int, at: float, x: Tensor, p: Prediction) -> Tensor:
        return torch.full_like(x, 5.0)

    sampler = Resampled(DDIM(steps=1), 2)
    sampler(denoise, s, x, lambda i: torch.zeros_like(x), on_step, np.array([700.0, 400.0]))
    (low, _), (high, _) = (s.alpha_sigma(torch.tensor([t], dtype=torch.float64)) for t in (400.0, 700.0))
    torch.testing.assert_close(seen[1], torch.full_like(x, 5.0 * float(high / low)), rtol=1e-12, atol=0)
