"""The shipped options hold the invariants of their groups; options that do not are refused in words that name it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ablatent.checks.option import Option
from ablatent.checks.suite import findings
from ablatent.core.types import Prediction
from ablatent.samplers.base import SolverState
from ablatent.samplers.ddim import DDIM
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.linear import Linear
from composing import composed
from options import names_of, option_of

SMALL = ("preset=tiny", "data=digits", "runtime=cpu")
BETAS = [0.002 + 0.01 * k / 1000 for k in range(1000)]
FILES = {"digits": []}
"""Data sets whose files are always there → further marks of their tests."""
READS = {"class": "class", "layout": "layout", "semantic": "semantic", "super_resolution": "low_resolution"}
"""Task → the conditioner of a model that it takes, where that is not none."""


def cases() -> Iterator[Any]:
    """(group, option) of all that can be looked at without files or weights."""
    for group in ("schedule", "parameterization", "weighting", "timestep_sampler", "network", "metric"):
        yield from ((group, name) for name in names_of(group))
    yield from (("first_stage", name) for name in names_of("first_stage") if name != "pretrained")
    yield from (("conditioner", name) for name in names_of("conditioner"))
    yield from (("task", name) for name in names_of("task"))
    yield ("data", "digits")
    yield pytest.param("data", "openmoji_scenes", marks=pytest.mark.slow)


def option(group: str, name: str) -> Option:
    """The option, with the rest of a job where its invariants look at it."""
    if group == "schedule" and name == "custom":
        return option_of(group, name, betas=BETAS)
    if group == "conditioner":
        config = composed(*SMALL, f"conditioner={name}")
        return replace(option_of(group, name), node=config["conditioner"], config=config)
    if group == "task":
        config = composed(*SMALL, f"conditioner={READS.get(name, 'none')}")
        if name == "text2img":
            config["conditioner"] = composed(*SMALL, "conditioner=text_minilm")["conditioner"]
        return replace(option_of(group, name), config=config)
    return option_of(group, name)


@pytest.mark.parametrize(("group", "name"), list(cases()))
def test_a_shipped_option_holds_all_invariants(group: str, name: str) -> None:
    broken = {f.invariant.name: f.broken or f.skipped for f in findings(option(group, name)) if f.broken or f.skipped}
    assert not broken


# ----------------------------------------------------------------------------------------------------- broken options


@dataclass(frozen=True)
class OneMore(DDIM):
    """A sampler that makes the last step twice."""

    def __call__(self, denoise: Any, schedule: Any, x: Tensor, noise: Any, on_step: Any = None, times: Any = None):  # type: ignore[no-untyped-def]
        times = self.times(schedule) if times is None else times
        longer = np.insert(times, len(times) - 1, times[-2] / 2)
        return super().__call__(denoise, schedule, x, noise, on_step, longer)


@dataclass(frozen=True)
class Mixing(DDIM):
    """A sampler whose samples depend on each other."""

    def step(self, state: SolverState, i: int, x: Tensor) -> tuple[Tensor, Prediction]:
        x, prediction = super().step(state, i, x)
        return x - 0.1 * x.mean(dim=0, keepdim=True), prediction


class Rising(NoiseSchedule):
    """A schedule whose signal comes back in the middle."""

    def __init__(self, T: int, beta_start: float, beta_end: float, zero_terminal_snr: bool):
        super().__init__(Linear(T, beta_start, beta_end, False).betas.numpy(), zero_terminal_snr)
        if not self.alphas_cumprod.is_meta:
            self.alphas_cumprod[T // 2] = self.alphas_cumprod[T // 2 - 2]


def broken(option: Option, cls: type) -> dict[str, str]:
    """Invariant → what is wrong, of the option with another class."""
    named = option.with_values(_target_=f"{cls.__module__}.{cls.__qualname__}")
    return {finding.invariant.name: finding.broken for finding in findings(named) if finding.broken}


def test_a_sampler_with_a_step_too_many_fails() -> None:
    found = broken(option_of("sampler", "ddim"), OneMore)
    assert "expected steps 0 … 0 with steps=1, grid=trailing; got [0, 1]" in found["steps_and_calls"]


def test_a_sampler_that_mixes_its_batch_fails() -> None:
    found = broken(option_of("sampler", "ddim"), Mixing)
    assert "expected sample 0 alone as in a batch; got values that are up to" in found["does_not_depend_on_the_batch"]
    assert "converges_in_its_order" in found and "steps_and_calls" not in found


def test_a_schedule_that_rises_fails() -> None:
    found = broken(option_of("schedule", "linear"), Rising)
    assert "falls strictly from below 1; got a rise, or no change, at t = 49" in found["snr_falls"]
    assert {"stands_in_its_yaml", "survives_json"} & set(found) == set()


def test_undeclared_values_and_values_outside_their_range_fail() -> None:
    undeclared = broken(option_of("schedule", "linear"), Rising)["is_declared"]
    assert undeclared == "expected the meaning of schedule.T, as Annotated[TYPE, …, MEANING]; got none."
    found = {f.invariant.name: f.broken for f in findings(option_of("sampler", "ddim").with_values(eta=2.0))}
    assert (found["stands_in_its_yaml"] or "").startswith("sampler.eta: expected a number from 0 to 1; got 2.0")
