"""What every timestep sampler does: its weighted mean estimates that over all times, and its memory is in its state."""

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, invariant
from ablatent.diffusion.timesteps import TimestepSampler

T = 50


def made(option: Option) -> TimestepSampler:
    """The sampler of T times."""
    return option.make(TimestepSampler, {"T": T})


def uniform(n: int, seed: int = 0) -> Tensor:
    """n uniform numbers in [0, 1), float64."""
    return torch.from_numpy(np.random.default_rng(seed).random(n))


def loss_of(t: Tensor) -> Tensor:
    """A loss that is uneven over time."""
    return 0.1 + (t.double() / T) ** 4


def _with_history(option: Option) -> TimestepSampler:
    """The sampler after many steps of a training, where it keeps a history."""
    sampler = made(option)
    for step in range(400):
        t, _ = sampler(uniform(16, step))
        sampler.update(t, loss_of(t))
    return sampler


@invariant
def weighted_mean_is_that_over_all_times(option: Option) -> None:
    """Times are whole, from 0 to T - 1; the weighted mean of a loss over them is its mean over all T, within 1 %."""
    sampler = _with_history(option)
    t, weights = sampler(uniform(200_000, 1000))
    expect(t.dtype == torch.int64, "times in int64", t.dtype)
    expect((int(t.min()), int(t.max())) == (0, T - 1), f"times from 0 to {T - 1}", (int(t.min()), int(t.max())))
    expected, mean = float(loss_of(torch.arange(T)).mean()), float((weights * loss_of(t)).mean())
    expect(abs(mean - expected) <= 0.01 * expected, f"a weighted mean of {expected:.4f}, within 1 %", f"{mean:.4f}")
    expect(abs(float(weights.mean()) - 1) <= 0.02, "weights of mean 1, within 2 %", float(weights.mean()))


@invariant
def resumes_from_its_state(option: Option) -> None:
    """After its state dict is loaded, it goes on with the same times and weights, to the bit."""
    one, two = _with_history(option), made(option)
    two.load_state_dict(one.state_dict())
    for a, b in zip(one(uniform(100)), two(uniform(100)), strict=True):
        expect(torch.equal(a, b), "the same times and weights after a resume", f"{int((a != b).sum())} others of 100")
