"""What every sampler of conf/sampler does, found by looking: the invariants of `ablatent.checks.sampler`, and single
samplers."""

import numpy as np
import pytest
import torch
from sampler_cases import CASES, every_sampler, make, option
from torch import Tensor

from ablatent.checks.gaussian import exact, linear, no_noise, noises
from ablatent.checks.sampler import steps_and_calls_of
from ablatent.checks.suite import Invariant, invariants_of
from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.base import threshold
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.unipc import UniPC
from ablatent.schedules.base import CLEAN

SPREAD = [48, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 333, 501, 999, 1000))]
INVARIANTS = invariants_of("sampler")
LONG = "fits_schedules_of_any_variance"
EACH = [pytest.param(i, id=i.name, marks=[pytest.mark.slow] if i.name == LONG else []) for i in INVARIANTS]


@pytest.mark.parametrize("invariant", EACH)
@pytest.mark.parametrize("case", CASES)
def test_an_invariant_holds(case: str, invariant: Invariant) -> None:
    invariant.check(option(case))


def test_the_invariants_are_all_there() -> None:
    """Functions of a module that lost their mark would be checked by nobody."""
    assert len(INVARIANTS) == 16 and all(i.statement for i in INVARIANTS)


@every_sampler
def test_the_steps_are_those_of_the_preset(name: str) -> None:
    assert option(name).raw["steps"] == "${preset.sampler.steps}"


@pytest.mark.parametrize("steps", SPREAD)
@every_sampler
def test_many_steps(name: str, steps: int) -> None:
    steps_and_calls_of(option(name), steps, "trailing")


def test_calls_of_ten_steps() -> None:
    known = {"ddim": 10, "ddpm": 10, "dpm_solver": 10, "dpm_solver_3": 10, "dpm_solver_sde": 10, "deis": 10}
    known |= {"euler": 10, "flow_heun": 19, "heun": 19, "plms": 11, "unipc": 10}
    assert {name: make(name, 10).nfe() for name in known} == known
    assert make("plms", 1).nfe() == 1


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


def test_clip_x0_bounds_the_last_step() -> None:
    s, x, times = linear(), noises(1, (8, 1, 4, 4))[0] * 20, np.array([500.0, 300.0, 100.0, CLEAN])
    clean = DDIM(steps=4, clip_x0=0.6)(exact(s), s, x, no_noise, times=times)
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


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_outside_its_range(eta: float) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.eta"):
        DDIM(steps=10, eta=eta)
