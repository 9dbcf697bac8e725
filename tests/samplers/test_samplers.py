"""What every sampler of conf/sampler does, found by looking: no network, the exact denoiser of Gaussian data."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from sampler_cases import (
    ANY_STEPS,
    MEAN,
    NAMES,
    STD,
    cosine,
    every_case,
    every_sampler,
    exact,
    linear,
    make,
    moments,
    no_noise,
    noises,
    options,
)
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.base import Sampler, threshold
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.unipc import UniPC
from ablatent.schedules.base import CLEAN

SPREAD = [48, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 333, 501, 999, 1000))]
STEPS_AND_GRIDS = [(n, "trailing") for n in (1, 2)] + [(7, grid) for grid in ANY_STEPS] + [(8, "compvis")]
SHARED = {f.name for f in fields(Sampler)}


@every_sampler
def test_the_yaml_names_every_field(name: str) -> None:
    assert set(options(name)) - {"_target_"} == {f.name for f in fields(make(name))}
    assert options(name)["steps"] == "${preset.sampler.steps}"


def check_steps_and_calls(name: str, steps: int, grid: str) -> None:
    s, sampler = linear(), make(name, steps, grid=grid)
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

    x = sampler(denoise, s, noises(1, (2, 1, 1, 1))[0], noise, on_step)
    assert [i for i, _ in seen] == list(range(steps))
    assert [t for _, t in seen] == sampler.times(s)[1:].tolist()
    assert len(calls) == sampler.nfe() == make(name, 3, grid=grid).nfe(steps)
    assert all(len(set(t)) == 1 and len(t) == 2 and t[0] >= 0 for t in calls)
    assert len(set(drawn_at)) == len(drawn_at) and bool(drawn_at) == (sampler.stochastic and steps > 1)
    assert bool(torch.isfinite(x).all())


@pytest.mark.parametrize(("steps", "grid"), STEPS_AND_GRIDS)
@every_sampler
def test_steps_and_calls_are_those_declared(name: str, steps: int, grid: str) -> None:
    check_steps_and_calls(name, steps, grid)


@pytest.mark.parametrize("steps", SPREAD)
@every_sampler
def test_many_steps(name: str, steps: int) -> None:
    check_steps_and_calls(name, steps, "trailing")


def test_calls_of_ten_steps() -> None:
    known = {"ddim": 10, "ddpm": 10, "dpm_solver": 10, "dpm_solver_sde": 10, "heun": 19, "plms": 11, "unipc": 10}
    assert {name: make(name, 10).nfe() for name in known} == known
    assert make("plms", 1).nfe() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_case
def test_dtype_is_kept_and_float32_is_near_float64(case: str, dtype: torch.dtype) -> None:
    s, sampler = linear(), make(case)
    x, z = noises(1, (3, 1, 2, 2))[0], noises(5, (3, 1, 2, 2), 1)
    result = sampler(exact(s), s, x.to(dtype), lambda i: z[i])
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), sampler(exact(s), s, x, lambda i: z[i]), rtol=1e-4, atol=1e-5)


@every_case
def test_samples_do_not_depend_on_the_batch(case: str) -> None:
    s, sampler = cosine(), make(case)
    x, z = noises(1, (4, 1, 2, 2))[0], noises(5, (4, 1, 2, 2), 1)
    together = sampler(exact(s), s, x, lambda i: z[i])
    for k in range(4):
        alone = sampler(exact(s), s, x[k : k + 1], lambda i, k=k: z[i, k : k + 1])
        torch.testing.assert_close(alone, together[k : k + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@every_case
def test_from_zero_snr_all_is_finite_or_refused(case: str, steps: int) -> None:
    s, sampler = linear(zero=True), make(case, steps)
    x, z = noises(1, (2, 1, 2, 2))[0], noises(steps, (2, 1, 2, 2), 1)
    if sampler.refuses_zero_snr:
        for start in (lambda: sampler.check(s), lambda: sampler(exact(s), s, x, no_noise, times=sampler.times(s))):
            with pytest.raises(ConfigError, match="zero SNR") as error:
                start()
            assert error.value.key == "sampler" and sampler.refuses_zero_snr in str(error.value)
        below = replace(sampler, start=0.99)
        assert bool(torch.isfinite(below(exact(s), s, x, lambda i: z[i])).all())
        return
    sampler.check(s)
    x = sampler(exact(s), s, x, lambda i: z[i])
    assert bool(torch.isfinite(x).all())
    if steps == 1:  # nothing is known at zero SNR: one step can only give the mean
        torch.testing.assert_close(x, torch.full_like(x, MEAN))


@every_case
def test_many_steps_reach_the_data(case: str) -> None:
    """Over the whole grid, from N(0, 1): the first and the last step, which the order leaves out, included."""
    mean, var = moments(make(case, 500), linear(), 0.0, 1.0)
    assert mean == pytest.approx(MEAN, rel=0.01) and math.sqrt(var) == pytest.approx(STD, rel=0.03)


@every_case
def test_on_step_replaces_the_state(case: str) -> None:
    s = linear()
    fresh = False  # whether on_step has been called since the last prediction

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        nonlocal fresh
        assert not fresh or bool((x == 3).all())
        fresh = False
        return exact(s)(x, t)

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        nonlocal fresh
        fresh = True
        return torch.full_like(x, 3.0)

    x = make(case, 4)(denoise, s, torch.randn(1, 1, 1, 1), lambda i: torch.ones(1, 1, 1, 1), on_step)
    assert x.item() == 3


def test_the_corrector_keeps_what_on_step_did() -> None:
    """Estimates that do not depend on x: then a shift of the state must arrive, shrunk, in the next one."""
    s, sampler = linear(), UniPC(steps=6)
    times = torch.from_numpy(sampler.times(s))
    sigma = s.alpha_sigma(times)[1]

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return Prediction(torch.full_like(x, float(torch.cos(t[0]))), torch.zeros_like(x))

    def path(shift: float) -> list[Tensor]:
        states = []

        def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
            states.append(x)
            return x + shift if i == 2 else x

        sampler(denoise, s, torch.ones(1, 1, 1, 1, dtype=torch.float64), no_noise, on_step)
        return states

    plain, shifted = path(0.0), path(5.0)
    assert torch.equal(plain[2], shifted[2])
    assert float(shifted[3] - plain[3]) == pytest.approx(5 * float(sigma[4] / sigma[3]), rel=1e-9)


@every_case
def test_the_variance_is_needed_where_it_is_said_to_be(case: str) -> None:
    s, sampler = linear(), make(case)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return replace(exact(s)(x, t), variance_fraction=None)

    def run() -> Tensor:
        return sampler(denoise, s, torch.zeros(1, 1, 1, 1), lambda i: torch.zeros(1, 1, 1, 1))

    if not sampler.needs_variance:
        assert bool(torch.isfinite(run()).all())
        return
    with pytest.raises(ConfigError) as error:
        run()
    assert error.value.key.startswith("sampler.")


# --------------------------------------------------------------------------------------------------------- thresholds


def predictions(sampler: Sampler, x: Tensor) -> tuple[Tensor, list[Prediction]]:
    """The result, and the prediction of each step, from a time at which x still matters to x_0."""
    s, made = linear(), []

    def on_step(i: int, t: float, x_t: Tensor, p: Prediction) -> Tensor:
        made.append(p)
        return x_t

    times = np.array([500.0, 300.0, 100.0, CLEAN])
    return sampler(exact(s), s, x, lambda i: torch.zeros_like(x), on_step, times), made


@pytest.mark.parametrize("knob", [{"clip_x0": 0.6}, {"dynamic_threshold": 0.8}])
@every_sampler
def test_thresholds_bound_x0_and_keep_eps_consistent(name: str, knob: dict[str, float]) -> None:
    x = noises(1, (8, 1, 4, 4))[0] * 20
    _, (first, *_) = predictions(make(name, **knob), x)
    t = torch.full((8,), 500)
    assert float(first.x0.abs().max()) == pytest.approx(knob.get("clip_x0", 1.0))
    torch.testing.assert_close(linear().q_sample(first.x0, t, first.eps), x, rtol=1e-12, atol=1e-12)
    _, (free, *_) = predictions(make(name), x)
    assert float(free.x0.abs().max()) > 1.0


def test_clip_x0_bounds_the_last_step() -> None:
    clean, _ = predictions(DDIM(steps=4, clip_x0=0.6), noises(1, (8, 1, 4, 4))[0] * 20)
    assert float(clean.abs().max()) == 0.6


@pytest.mark.parametrize("percentile", [0.1, 0.5, 0.995, 1.0])
def test_dynamic_threshold_is_the_percentile_of_each_sample(percentile: float) -> None:
    x0 = noises(5, (3, 4, 4), 2) * torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0]).reshape(5, 1, 1, 1)
    got = threshold(x0, percentile)
    for row, result in zip(x0, got, strict=True):
        s = max(1.0, float(torch.quantile(row.abs(), percentile)))
        torch.testing.assert_close(result, row.clamp(-s, s) / s)
        assert float(result.abs().max()) <= 1.0
    torch.testing.assert_close(got[:1], x0[:1])  # already inside


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
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
    ],
)
@every_sampler
def test_bad_knobs_name_their_key(name: str, knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        type(make(name))(**{**vars(make(name)), **knobs})
    assert error.value.key == key


NONSENSE: dict[type, Any] = {float: math.nan, str: "nonsense"}
OWN = [
    (name, key, NONSENSE[type(v)])
    for name in NAMES
    for key, v in options(name).items()
    if key not in SHARED | {"_target_"} and type(v) in NONSENSE
]


@pytest.mark.parametrize(("name", "knob", "value"), OWN)
def test_a_knob_of_its_own_refuses_nonsense(name: str, knob: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        type(make(name))(**{**vars(make(name)), knob: value})
    assert error.value.key == f"sampler.{knob}"


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_outside_its_range(eta: float) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.eta"):
        DDIM(steps=10, eta=eta)


@every_sampler
def test_more_steps_than_times(name: str) -> None:
    for sampler in (make(name, 1001), make(name, 600, start=0.5)):
        with pytest.raises(ConfigError) as error:
            sampler.check(linear())
        assert error.value.key == "sampler.steps"


@every_sampler
def test_low_precision_states_and_ascending_times_are_refused(name: str) -> None:
    s, sampler = linear(), make(name, 2)
    with pytest.raises(ValueError, match="float32"):
        sampler(exact(s), s, torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16), no_noise)
    with pytest.raises(ValueError, match="descending"):
        sampler(exact(s), s, torch.zeros(1, 1, 1, 1), no_noise, times=sampler.times(s)[::-1].copy())
