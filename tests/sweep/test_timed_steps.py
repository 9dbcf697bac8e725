"""do=plan estimate=true: steps of real networks are timed, of each distinct one once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ablatent.core.errors import StageError
from ablatent.stages import trial as trials
from ablatent.stages.stage import Stage
from ablatent.stages.trial import TrialTraining, seconds_a_step
from ablatent.sweep import timed_steps
from ablatent.sweep.expected_time import Expected, TimeSource
from ablatent.sweep.plan import Composed, Plan, make_plan
from ablatent.sweep.timed_steps import TimedSteps
from composing import composed

BASE = ("preset=tiny", "data=digits", "runtime=cpu", "perceptual=alex")
RULE = Expected(1.0, TimeSource.RULE)


def plan_of(*jobs: Sequence[str]) -> Plan:
    return make_plan([Composed([], composed(*BASE, *job)) for job in jobs])


def estimates(plan: Plan) -> dict[str, list[Expected]]:
    """Kind → estimates of its stages."""
    runtime = {**plan.jobs[0].config["runtime"], "threads": None}
    timed, found = TimedSteps(plan, runtime, lambda stage: RULE), {}
    for stage in plan.stages.values():
        found.setdefault(stage.kind, []).append(timed(stage))
    return found


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of what was timed; the first phase takes 2 s a step, the others 3 s."""
    titles: list[str] = []

    def pretended(trial: TrialTraining, runtime: Mapping[str, Any], title: str, budget: float) -> list[float]:
        titles.append(title)
        return [2.0, 3.0, 3.0][: len(trial.phases)]

    monkeypatch.setattr(timed_steps, "seconds_a_step", pretended)
    return titles


def test_each_distinct_network_is_timed_once(tried: list[str]) -> None:
    found = estimates(plan_of([], ["schedule=linear"], ["training.steps=48"], ["sampler.steps=7"]))
    # eight steps without the critic, then four in which it trains and eight in which it counts
    assert found["first_stage"] == [Expected(8 * 2.0 + 12 * 3.0, TimeSource.TIMED)]
    assert [e.seconds for e in found["diffusion"]] == [48.0, 48.0, 96.0]
    assert set(found["samples"]) == {RULE} and len(tried) == 2
    estimates(plan_of([], ["training.batch_size=8"], ["network.ch=64"]))
    assert len(tried) == 2 + 4


def test_without_a_critic_all_steps_are_alike(tried: list[str]) -> None:
    found = estimates(plan_of(["first_stage.loss.disc_start=null"]))
    assert found["first_stage"] == [Expected(40.0, TimeSource.TIMED)]


def test_what_cannot_be_timed_goes_by_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> list[float]:
        raise StageError("no memory")

    monkeypatch.setattr(timed_steps, "seconds_a_step", fails)
    assert {e for found in estimates(plan_of([])).values() for e in found} == {RULE}


@pytest.mark.slow
@pytest.mark.parametrize("role, overrides", [("first_stage", []), ("diffusion", ["conditioner=class"])])
def test_steps_of_real_trainings(role: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "STEPS", 1)
    (job,) = plan_of(overrides).jobs
    timed = TimedSteps(plan_of(overrides), {**job.config["runtime"], "threads": 1}, lambda stage: RULE)
    stage: Stage = job.stages[role]
    kind, config = timed.kinds[stage.key]
    trial = kind.trial(config, stage)
    assert trial is not None and sum(steps for _, steps in trial.phases) == stage.config["training"]["steps"]
    before = [p.detach().clone() for p in trial.trainee.parameters()]
    found = seconds_a_step(trial, timed.runtime, role, 1.0)
    assert len(found) == len(trial.phases) and all(0 < seconds < 30 for seconds in found)
    assert any(bool((a != b).any()) for a, b in zip(before, trial.trainee.parameters(), strict=True)), "a real step"
