"""What every timestep sampler does: its times are those of the schedule, its weighted mean estimates that over all
times where it says so, and its memory is in its state."""

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.gaussian import cosine, edm, rectified_flow
from ablatent.checks.option import Option
from ablatent.checks.suite import expect, invariant
from ablatent.core.errors import ConfigError
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.schedules.base import NoiseSchedule

T = 50


def made(option: Option, schedule: NoiseSchedule | None = None) -> TimestepSampler:
    """The sampler of a schedule: of the cosine one of T times, where none is given."""
    return option.make(TimestepSampler, {"schedule": cosine(T) if schedule is None else schedule})


def every(option: Option) -> list[TimestepSampler]:
    """The sampler with schedules of whole times and of real ones, as far as it takes them."""
    samplers = [made(option)]
    for schedule in (rectified_flow(T), edm(T)):
        try:
            samplers.append(made(option, schedule))
        except ConfigError:
            continue
    return samplers


def uniform(n: int, seed: int = 0) -> Tensor:
    """n uniform numbers in [0, 1), float64."""
    return torch.from_numpy(np.random.default_rng(seed).random(n))


def loss_of(t: Tensor) -> Tensor:
    """A loss that is uneven over time."""
    return 0.1 + (t.double() / T) ** 4


def _remember(sampler: TimestepSampler) -> TimestepSampler:
    """The sampler after many steps of a training, where it keeps a history."""
    for step in range(400):
        t, _ = sampler(uniform(16, step))
        sampler.update(t, loss_of(t))
    return sampler


@invariant
def times_are_those_of_the_schedule(option: Option) -> None:
    """Times lie in [0, T - 1], also for the smallest and largest u: int64, of a continuous schedule float64.
    Weights are finite, and at least 0."""
    for sampler in every(option):
        t, weights = sampler(torch.cat([torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64), uniform(10_000)]))
        wanted = torch.float64 if sampler.schedule.continuous else torch.int64
        expect(t.dtype == wanted, f"times in {wanted}", t.dtype)
        low, high = float(t.min()), float(t.max())
        expect(0 <= low <= high <= T - 1, f"times in [0, {T - 1}]", (low, high))
        finite = bool(torch.isfinite(weights).all())
        expect(finite and (weights >= 0).all(), "finite weights of at least 0", float(weights.min()))


@invariant
def weighted_mean_is_that_over_all_times(option: Option) -> None:
    """Where it keeps the mean, the weighted mean of a loss is its mean over all times, within 1 %, and all of them
    come; where it does not, all weights are 1: the density weighs the loss."""
    for sampler in every(option):
        sampler = _remember(sampler)
        t, weights = sampler(uniform(200_000, 1000))
        if not sampler.keeps_mean:
            expect((weights == 1).all(), "weights of 1 where the mean is not kept", float(weights.max()))
            continue
        low, high = float(t.min()), float(t.max())
        expect(low < 0.01 and high > T - 1.01, f"times from 0 to {T - 1}", (low, high))
        expected = float(loss_of(sampler.schedule.time_at((torch.arange(10_000) + 0.5) / 10_000)).mean())
        mean = float((weights * loss_of(t)).mean())
        expect(abs(mean - expected) <= 0.01 * expected, f"a weighted mean of {expected:.4f}, within 1 %", f"{mean:.4f}")
        expect(abs(float(weights.mean()) - 1) <= 0.02, "weights of mean 1, within 2 %", float(weights.mean()))


@invariant
def resumes_from_its_state(option: Option) -> None:
    """After its state dict is loaded, it goes on with the same times and weights, to the bit."""
    one, two = _remember(made(option)), made(option)
    two.load_state_dict(one.state_dict())
    for a, b in zip(one(uniform(100)), two(uniform(100)), strict=True):
        expect(torch.equal(a, b), "the same times and weights after a resume", f"{int((a != b).sum())} others of 100")
