"""What is expected of a sampler on one schedule, of any alpha and sigma."""

import math
from collections.abc import Callable
from dataclasses import replace

from ablatent.checks.flow import STEPS, errors
from ablatent.checks.gaussian import MEAN, STD, exact, moments, noises, slope
from ablatent.checks.suite import expect, expect_near
from ablatent.samplers.base import Sampler, nodes_of
from ablatent.schedules.base import NoiseSchedule


def startable(sampler: Sampler, s: NoiseSchedule) -> Sampler:
    """The sampler, from start=0.99 where it refuses the zero SNR of the schedule's last time."""
    return replace(sampler, start=0.99) if sampler.refuses_zero_snr and s.terminal_snr == 0 else sampler


def expect_batches_apart(sampler: Sampler, s: NoiseSchedule) -> None:
    """Raise Broken unless a sample alone is the sample in a batch."""
    sampler, z = startable(sampler, s), noises(5, (4, 1, 2, 2), 1)
    x = sampler.initial_state(s, noises(1, (4, 1, 2, 2))[0])
    together = sampler(exact(s), s, x, lambda i: z[i])
    for k in range(4):
        alone = sampler(exact(s), s, x[k : k + 1], z[:, k : k + 1].__getitem__)
        expect_near(alone, together[k : k + 1], f"sample {k} alone as in a batch", rtol=1e-12, atol=1e-12)


def expect_moments(sampler: Sampler, s: NoiseSchedule) -> None:
    """Raise Broken unless mean and deviation of Gaussian data come out, within 1 % and 3 %."""
    sampler = startable(sampler, s)
    first = nodes_of(s, sampler.times(s)[:1])[0]
    mean, var = moments(sampler, s, 0.0, first.variance)
    expect(abs(mean - MEAN) <= 0.01 * MEAN, f"the mean {MEAN}", mean)
    expect(abs(math.sqrt(var) - STD) <= 0.03 * STD, f"the deviation {STD}", math.sqrt(var))


def fits(make: Callable[[int], Sampler], s: NoiseSchedule) -> None:
    """Raise Broken unless order, moments and independence of the batch hold. make: number of steps → sampler."""
    expect_batches_apart(make(5), s)
    expect_moments(make(300), s)
    steps = STEPS[1:]
    order, found = make(1).order, errors(make, s, steps)
    measured = slope(steps, found)
    expect(measured >= order - 0.3, f"order {order}, within 0.3", f"{measured:.2f}, by the errors {found}")
