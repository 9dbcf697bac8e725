"""What every sampler does, on data whose denoiser is known exactly: steps, calls, moments, order, refusals."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.flow import STEPS, errors
from ablatent.checks.gaussian import (
    MEAN,
    cosine,
    exact,
    further,
    linear,
    no_noise,
    noises,
    slope,
)
from ablatent.checks.on_schedule import expect_batches_apart, expect_moments, fits, startable
from ablatent.checks.option import Option
from ablatent.checks.suite import Broken, expect, expect_near, expect_refused, invariant
from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler
from ablatent.samplers.grids import GRIDS
from ablatent.schedules.base import CLEAN, NoiseSchedule

ANY_STEPS = [grid for grid in GRIDS if grid != "compvis"]
"""The grids that have every number of steps."""
SHARED = {f.name for f in fields(Sampler)}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, "sampler.steps"),
    ({"steps": -1}, "sampler.steps"),
    ({"steps": True}, "sampler.steps"),
    ({"grid": "trailin"}, "sampler.grid"),
    ({"start": 0.0}, "sampler.start"),
    ({"start": 1.5}, "sampler.start"),
    ({"clip_x0": 0.0}, "sampler.clip_x0"),
    ({"dynamic_threshold": 0.0}, "sampler.dynamic_threshold"),
    ({"dynamic_threshold": 99.5}, "sampler.dynamic_threshold"),
    ({"dynamic_threshold": 0.995, "clip_x0": 1.0}, "sampler.dynamic_threshold"),
]
"""Values of the shared arguments that are refused → the key that the error names."""
NONSENSE: dict[type, Any] = {float: math.nan, str: "nonsense"}


def made(option: Option, steps: int = 5, **changes: Any) -> Sampler:
    """The sampler with this number of steps, and with changes."""
    return option.make(Sampler, steps=steps, **changes)


@invariant
def steps_and_calls(option: Option) -> None:
    """Exactly S steps, one after the other, and as many calls of the denoiser as `nfe` declares, on every time grid."""
    for steps, grid in [(1, "trailing"), (2, "trailing"), *((7, grid) for grid in ANY_STEPS), (8, "compvis")]:
        steps_and_calls_of(option, steps, grid)


def steps_and_calls_of(option: Option, steps: int, grid: str) -> None:
    """The same for one number of steps on one grid. Raises Broken."""
    s, sampler = linear(), made(option, steps, grid=grid)
    calls: list[list[float]] = []
    seen: list[tuple[int, float]] = []
    drawn_at: list[int] = []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        calls.append(t.tolist())
        return exact(s)(x, t)

    def noise(i: int) -> Tensor:
        drawn_at.append(i)
        return torch.zeros(2, 1, 1, 1)

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        seen.append((i, t))
        return x

    at = f"with steps={steps}, grid={grid}"
    times = sampler.times(s)
    expect(len(times) == steps + 1, f"{steps + 1} times {at}, both ends included", len(times))
    x = sampler(denoise, s, noises(1, (2, 1, 1, 1))[0], noise, on_step)
    expect([i for i, _ in seen] == list(range(steps)), f"steps 0 … {steps - 1} {at}", [i for i, _ in seen])
    expect([t for _, t in seen] == times[1:].tolist(), f"states at the times of the grid {at}", [t for _, t in seen])
    expect(len(calls) == sampler.nfe(), f"nfe() = {sampler.nfe()} calls of the denoiser {at}", len(calls))
    other = made(option, 3, grid=grid).nfe(steps)
    expect(other == len(calls), f"nfe({steps}) = {len(calls)} of a sampler with other steps", other)
    rows = all(len(set(t)) == 1 and len(t) == 2 and t[0] >= 0 for t in calls)
    expect(rows, f"one time for all rows of a call, at least 0 {at}", calls)
    expect(len(set(drawn_at)) == len(drawn_at), f"noise once a step at most {at}", drawn_at)
    asks = sampler.stochastic and steps > 1
    expect(bool(drawn_at) == asks, f"{'' if asks else 'no '}call for noise, as `stochastic` declares {at}", drawn_at)
    expect(torch.isfinite(x).all(), f"finite numbers {at}", x.flatten().tolist())


@invariant
def keeps_the_dtype(option: Option) -> None:
    """float32 and float64 states keep their dtype, and float32 is near float64."""
    s, sampler = linear(), made(option)
    x, z = noises(1, (3, 1, 2, 2))[0], noises(5, (3, 1, 2, 2), 1)
    wanted = sampler(exact(s), s, x, lambda i: z[i])
    for dtype in (torch.float32, torch.float64):
        result = sampler(exact(s), s, x.to(dtype), lambda i: z[i])
        expect(result.dtype == dtype, f"a result in {dtype}", result.dtype)
        expect_near(result, wanted, f"the values of float64 in {dtype}", rtol=1e-4, atol=1e-5)


@invariant
def is_deterministic(option: Option) -> None:
    """The same first state and the same noise give the same bits, also by an instance that has sampled before."""
    s, sampler = cosine(), made(option)
    x, z = noises(1, (2, 1, 2, 2))[0], noises(5, (2, 1, 2, 2), 1)
    first = sampler(exact(s), s, x, lambda i: z[i])
    for again in (sampler, made(option)):
        result = again(exact(s), s, x, lambda i: z[i])
        expect(torch.equal(result, first), "the same bits", f"{float((result - first).abs().max()):.3g} apart")


@invariant
def does_not_depend_on_the_batch(option: Option) -> None:
    """A sample alone is the sample in a batch."""
    expect_batches_apart(made(option), cosine())


@invariant
def starts_from_zero_snr_or_refuses(option: Option) -> None:
    """From alpha = 0 all is finite, and one step gives the mean of the data; or `refuses_zero_snr` says why not."""
    pure = [s for s in (linear(zero=True), *further()) if s.terminal_snr == 0]
    for s, steps in product(pure, (1, 2, 3, 10)):
        sampler = made(option, steps)
        x, z = noises(1, (2, 1, 2, 2))[0], noises(steps, (2, 1, 2, 2), 1)
        if sampler.refuses_zero_snr:
            _refuses_zero_snr(sampler, s, x, z)
            continue
        sampler.check(s)
        x = sampler(exact(s), s, x, z.__getitem__)
        expect(torch.isfinite(x).all(), f"finite numbers from zero SNR in {steps} steps", x.flatten().tolist())
        if steps == 1:  # nothing is known at zero SNR: one step can only give the mean
            expect_near(x, torch.full_like(x, MEAN), "the mean of the data by one step", rtol=1e-6, atol=1e-6)


def _refuses_zero_snr(sampler: Sampler, s: NoiseSchedule, x: Tensor, z: Tensor) -> None:
    calls: list[Callable[[], object]] = [
        lambda: sampler.check(s),
        lambda: sampler(exact(s), s, x, no_noise, times=sampler.times(s)),
    ]
    for call in calls:
        expect_refused(call, "sampler", "that zero SNR is refused")
    below = startable(sampler, s)(exact(s), s, x, lambda i: z[i])
    expect(torch.isfinite(below).all(), "finite numbers from start=0.99", below.flatten().tolist())


@invariant
def many_steps_reach_the_data(option: Option) -> None:
    """500 steps from noise over the whole grid give mean and deviation of Gaussian data, within 1 % and 3 %."""
    expect_moments(made(option, 500), linear())


@invariant
def converges_in_its_order(option: Option) -> None:
    """The error falls with the number of steps by the declared `order`: see `checks.flow.errors`."""
    order, errors = made(option).order, errors_of(option)
    measured = slope(STEPS, errors)
    expect(measured >= order - 0.3, f"order {order}, within 0.3", f"{measured:.2f}, by the errors {errors}")
    expect(errors[-1] < 0.02, f"an error below 0.02 in {STEPS[-1]} steps", errors[-1])


def errors_of(option: Option) -> list[float]:
    """The errors of the cosine schedule: see `checks.flow.errors`."""
    return errors(partial(made, option), cosine())


@invariant
def fits_schedules_of_any_variance(option: Option) -> None:
    """Order, moments and independence of the batch hold on schedules whose alpha² + sigma² is not 1, too."""
    for s in further():
        fits(partial(made, option), s)


@invariant
def goes_on_from_what_on_step_returns(option: Option) -> None:
    """The state that `on_step` returns takes the place of that of the step, so that tasks can hold pixels."""
    known, other, later = (
        _inputs_after(option, 0.0, 3.0),
        _inputs_after(option, 1.0, 3.0),
        _inputs_after(option, 0.0, 4.0),
    )
    expect(other == known, "steps that go on from what on_step returned, whatever the state before", [known, other])
    expect(all(a != b for a, b in zip(known, later, strict=True)), "steps that go on from the state returned", "others")


def _inputs_after(option: Option, first: float, returned: float) -> list[float]:
    """What the denoiser is called with first after each on_step that returns this state, and the last state."""
    s, inputs = linear(), list[float]()
    fresh = False  # whether on_step has been called since the last prediction

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        nonlocal fresh
        inputs.extend(x.flatten().tolist() if fresh else [])
        fresh = False
        return exact(s)(x, t)

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        nonlocal fresh
        fresh = True
        return torch.full_like(x, returned)

    x = torch.full((1, 1, 1, 1), first, dtype=torch.float64)
    return [*inputs, made(option, 4)(denoise, s, x, lambda i: torch.ones(1, 1, 1, 1), on_step).item()]


@invariant
def reads_the_variance_as_declared(option: Option) -> None:
    """Without a learned variance it samples, or names its key, as `needs_variance` declares."""
    s, sampler = linear(), made(option)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return replace(exact(s)(x, t), variance_fraction=None)

    def run() -> Tensor:
        return sampler(denoise, s, torch.zeros(1, 1, 1, 1), lambda i: torch.zeros(1, 1, 1, 1))

    if sampler.needs_variance:
        expect_refused(run, "sampler.", "that a missing variance is refused")
    else:
        expect(torch.isfinite(run()).all(), "finite numbers without a learned variance", "others")


@invariant
def thresholds_bound_x0(option: Option) -> None:
    """`clip_x0` and `dynamic_threshold` bound the estimates of x_0, and eps goes on to fit x_t."""
    knobs: list[tuple[dict[str, Any], float]] = [({"clip_x0": 0.6}, 0.6), ({"dynamic_threshold": 0.8}, 1.0)]
    for knob, bound in knobs:
        x, t, first = _first_prediction(made(option, **knob))
        size = float(first.x0.abs().max())
        expect(math.isclose(size, bound, rel_tol=1e-6), f"estimates up to {bound} with {knob}", size)
        back = linear().q_sample(first.x0, t, first.eps)
        expect_near(back, x, f"alpha x_0 + sigma eps = x_t with {knob}", rtol=1e-12, atol=1e-12)
    size = float(_first_prediction(made(option))[2].x0.abs().max())
    expect(size > 1.0, "estimates beyond 1 without a threshold", size)


def _first_prediction(sampler: Sampler) -> tuple[Tensor, Tensor, Prediction]:
    """(x, t, prediction) of the first step, from a time at which x still matters to x_0."""
    s, calls, predictions = linear(), list[tuple[Tensor, Tensor]](), list[Prediction]()

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        calls.append((x, t))
        return exact(s)(x, t)

    def on_step(i: int, t: float, x_t: Tensor, p: Prediction) -> Tensor:
        predictions.append(p)
        return x_t

    x = noises(1, (8, 1, 4, 4))[0] * 20
    sampler(denoise, s, x, lambda i: torch.zeros_like(x), on_step, np.array([500.0, 300.0, 100.0, CLEAN]))
    return *calls[0], predictions[0]


@invariant
def refuses_bad_arguments(option: Option) -> None:
    """Values outside their range are refused by the constructor too, by an error that names their key."""
    values, construct = vars(made(option)), type(made(option))
    own = {
        k: NONSENSE[type(v)] for k, v in option.node.items() if k not in SHARED and k[0] != "_" and type(v) in NONSENSE
    }
    for changes, key in [*BAD, *(({name: value}, f"sampler.{name}") for name, value in own.items())]:
        expect_refused(partial(construct, **{**values, **changes}), key, f"that {changes} is refused")


@invariant
def refuses_more_steps_than_times(option: Option) -> None:
    """More steps than the schedule has times, states of low precision and ascending times are refused."""
    for sampler in (made(option, 1001), made(option, 600, start=0.5)):
        expect_refused(partial(sampler.check, linear()), "sampler.steps", "that more steps than times are refused")
    s, sampler = linear(), made(option, 2)
    for x, times in (
        (torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16), None),
        (torch.zeros(1, 1, 1, 1), sampler.times(s)[::-1].copy()),
    ):
        try:
            sampler(exact(s), s, x, no_noise, times=times)
        except ValueError:
            continue
        raise Broken("a ValueError for bfloat16 states and for ascending times", "none")
