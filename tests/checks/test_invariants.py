"""The shipped options hold the invariants of their groups; options that do not are refused in words that name it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import broken_options
from ablatent.checks.option import Option
from ablatent.checks.suite import findings
from broken_options import Dividing, Mixing, OneMore, Peeking, Rising
from composing import composed
from options import names_of, option_of

SMALL = ("preset=tiny", "data=digits", "runtime=cpu")
BETAS = [0.002 + 0.01 * k / 1000 for k in range(1000)]
READS = {
    **{"class": "class", "layout": "layout", "semantic": "semantic"},
    **{"super_resolution": "low_resolution", "text2img": "text_transformer"},
}
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
    if (group, name) == ("conditioner", "hybrid"):
        return replace(option_of(group, name, parts={}), node=composed(*SMALL, "conditioner=hybrid")["conditioner"])
    if group == "task":
        model = option_of("conditioner", READS.get(name, "none")).node
        return replace(option_of(group, name), config={**composed(*SMALL), "conditioner": model})
    return option_of(group, name)


VARIANTS: list[tuple[str, str, dict[str, float]]] = [
    ("weighting", "min_snr", {"gamma": 1.0}),
    ("weighting", "p2", {"k": 0.5, "gamma": 2.0}),
    ("network", "dit", {"qk_norm": True, "freq_shift": True}),
]


@pytest.mark.parametrize(("group", "name", "values"), VARIANTS)
def test_other_values_hold_them_too(group: str, name: str, values: dict[str, float]) -> None:
    assert not [f for f in findings(option(group, name).with_values(**values)) if f.broken]


@pytest.mark.parametrize(("group", "name"), list(cases()))
def test_a_shipped_option_holds_all_invariants(group: str, name: str) -> None:
    broken = {f.invariant.name: f.broken or f.skipped for f in findings(option(group, name)) if f.broken or f.skipped}
    assert not broken


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


def test_what_an_option_raises_names_its_line() -> None:
    found = broken(option_of("sampler", "ddim"), Dividing)["steps_and_calls"]
    line = next(
        n for n, text in enumerate(Path(broken_options.__file__).read_text().splitlines(), 1) if "0 // 0" in text
    )
    assert found.startswith("ZeroDivisionError: ") and found.endswith(f"broken_options.py:{line})")


def test_a_conditioner_that_reads_what_it_does_not_declare_fails() -> None:
    found = broken(option_of("conditioner", "class"), Peeking)
    assert found["needs_what_it_declares"].startswith(
        "expected a condition from what `needs` declares alone: labels; got AssertionError"
    )
    assert "gives_what_it_declares" not in found


def test_a_schedule_that_rises_fails() -> None:
    found = broken(option_of("schedule", "linear"), Rising)
    assert "falls strictly from below 1; got a rise, or no change, at t = 500" in found["snr_falls"]
    assert {"stands_in_its_yaml", "survives_json"} & set(found) == set()


def test_undeclared_values_and_values_outside_their_range_fail() -> None:
    undeclared = broken(option_of("schedule", "linear"), Rising)["is_declared"]
    assert undeclared == "expected the meaning of schedule.T, as Annotated[TYPE, …, MEANING]; got none."
    found = {f.invariant.name: f.broken for f in findings(option_of("sampler", "ddim").with_values(eta=2.0))}
    assert (found["stands_in_its_yaml"] or "").startswith("sampler.eta: expected a number from 0 to 1; got 2.0")
