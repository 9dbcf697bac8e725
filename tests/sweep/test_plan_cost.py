"""What a plan costs: list scheduling, the rule by operations, the table and the line below it. Nothing is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ablatent.core.progress import console
from ablatent.executors.process import Process
from ablatent.stages.kind_base import Size
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.cost_rule import CPU_RATE, STEP, STEP_SECONDS, by_rule, rate_of, work_of
from ablatent.sweep.executor import threads_of
from ablatent.sweep.expected_time import GUESS, Expected, TimeSource
from ablatent.sweep.plan import Composed, Job, Plan, make_plan
from ablatent.sweep.plan_cost import PlanCost
from ablatent.sweep.schedule import ends_after, most_at_once
from commands import SMALL, inline
from composing import composed

BASE = ("preset=tiny", "data=digits", "runtime=cpu")


def stage(name: str, takes: float, *inputs: Stage, trained: bool = False) -> Stage:
    read = {f"i{n}": one.key for n, one in enumerate(inputs)}
    return Stage(kind="work", version=1, config={"name": name, "takes": takes}, inputs=read, trained=trained)


def takes(one: Stage) -> float:
    return float(one.config["takes"])


def graph(*stages: Stage) -> dict[Key, Stage]:
    return {one.key: one for one in stages}


def test_a_chain_gains_nothing_by_slots() -> None:
    first = stage("a", 3)
    second = stage("b", 4, first)
    assert [ends_after(graph(first, second), takes, slots) for slots in (1, 2, 5)] == [7, 7, 7]


def test_stages_that_are_free_of_each_other_share_the_slots() -> None:
    alone = graph(*(stage(str(n), 2) for n in range(5)))
    assert [ends_after(alone, takes, slots) for slots in (1, 2, 3, 5, 9)] == [10, 6, 4, 2, 2]


def test_trainings_decide_how_many_stages_are_built_at_once() -> None:
    first = [stage(f"first{n}", 9, trained=True) for n in range(2)]
    second = [stage(f"second{n}", 9, first[n % 2], trained=True) for n in range(3)]
    samples = [stage(f"samples{n}", 1, second[n % 3]) for n in range(12)]
    assert most_at_once(graph(*first, *second, *samples)) == 3
    assert most_at_once(graph(*second[:1], *samples)) == 1  # a training has all processors, whatever follows it
    assert most_at_once(graph(*samples)) == 12
    assert most_at_once({}) == 1


@pytest.mark.parametrize(("processors", "expected"), [(1, 1), (2, 2), (64, 3)])
def test_slots_that_are_not_set_are_those_of_the_trainings(monkeypatch, processors: int, expected: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    trainings = graph(*(stage(str(n), 1, trained=True) for n in range(3)))
    runtime = {"device": "cpu", "threads": None}
    slots = Process().slots_on(runtime, trainings)
    assert slots == expected
    assert Process(slots=5).slots_on(runtime, trainings) == 5
    assert threads_of(runtime, slots) == processors // expected


def test_the_longest_path_goes_first() -> None:
    root = stage("root", 1)
    long = stage("long", 6, root)
    stages = graph(stage("x", 3), stage("y", 3), root, long)
    # root, long on one slot; x, y on the other
    assert ends_after(stages, takes, 2) == 7
    assert ends_after(stages, takes, 1) == 13
    assert ends_after({}, takes, 2) == 0


def test_a_stage_waits_for_all_that_it_reads() -> None:
    a, b = stage("a", 1), stage("b", 5)
    assert ends_after(graph(a, b, stage("c", 2, a, b)), takes, 3) == 7


def sized(flops: int, batch_size: int, steps: int) -> Size:
    return Size(kind="k", part="p", parameters=1, flops=flops, batch_size=batch_size, steps=steps)


def of_job(*overrides: str) -> tuple[Plan, dict[str, Stage]]:
    plan = make_plan([Composed([], composed(*BASE, *overrides))])
    return plan, plan.jobs[0].stages


def rule_of(sizes: Mapping[str, Size], *overrides: str) -> dict[str, float]:
    """Role → seconds at 1,000 operations a second."""
    plan, stages = of_job(*overrides)
    works = work_of(plan, {stages[role].key: [size] for role, size in sizes.items()})
    return {role: by_rule(works, 1000.0)(one).seconds for role, one in stages.items()}


def test_the_rule_multiplies_steps_batch_and_operations() -> None:
    found = rule_of({"first_stage": sized(10, 4, 100), "diffusion": sized(7, 16, 200)})
    assert found["first_stage"] == STEP * 10 * 4 * 100 / 1000 + 100 * STEP_SECONDS
    assert found["diffusion"] == STEP * 7 * 16 * 200 / 1000 + 200 * STEP_SECONDS
    # five steps for each of 64 samples, and their decoding
    assert found["samples"] == (64 * 5 * 7 + 64 * 10) / 1000
    assert found["scores"] == GUESS[False]
    assert rule_of({})["diffusion"] == GUESS[True], "a training whose operations are not known"


def test_the_rule_grows_with_steps_and_batch() -> None:
    grown = [
        rule_of({"diffusion": sized(7, batch, steps)})["diffusion"] for batch, steps in ((8, 10), (9, 10), (9, 11))
    ]
    assert grown == sorted(set(grown))


SAMPLING = {
    (): 64 * 5,
    ("sampler.steps=10",): 64 * 10,
    ("sampler=heun",): 64 * 9,
    ("conditioner=class", "guidance=classifier_free", "guidance.scale=3.0"): 2 * 64 * 5,
    ("conditioner=class", "guidance=classifier_free", "guidance.scale=1.0"): 64 * 5,
}


@pytest.mark.parametrize("overrides", SAMPLING)
def test_samples_take_as_many_passes_as_sampler_and_guidance_say(overrides: tuple[str, ...]) -> None:
    found = rule_of({"diffusion": sized(1000, 1, 1)}, *overrides)
    assert found["samples"] == SAMPLING[overrides]


def test_a_slot_is_as_fast_as_its_threads_and_devices() -> None:
    runtime = {"device": "cpu", "devices": 1}
    assert rate_of(runtime, 1) == CPU_RATE and rate_of(runtime, 3) == 3 * CPU_RATE
    assert rate_of({**runtime, "devices": 2}, 3) == 6 * CPU_RATE
    assert rate_of({"device": "gpu", "devices": 1}, 3) > 100 * CPU_RATE


class Times:
    """(stage) -> an estimate by what its options say."""

    def __init__(self, source: TimeSource):
        self.source = source

    def __call__(self, one: Stage) -> Expected:
        return Expected(takes(one), self.source)


def two_jobs() -> Plan:
    """Two jobs which share a stage of a minute; each has one of its own of two minutes that reads it."""
    shared = stage("shared", 60)
    jobs = [Job(n, [], {}, stages={"a": shared, "b": stage(f"own {n}", 120, shared)}) for n in range(2)]
    return Plan(jobs)


def lines(cost: PlanCost, slots: int) -> list[str]:
    with console.capture() as shown:
        console.print(cost.table())
        for line in cost.summary(slots):
            console.print(line)
    return [line.strip() for line in shown.get().splitlines()]


@pytest.mark.parametrize(
    "source, shown, note",
    [
        (TimeSource.WORK, "5m00s", None),
        (TimeSource.NETWORK, "5m00s*", "* as the same network"),
        (TimeSource.TIMED, "5m00s+", "+ by steps"),
        (TimeSource.RULE, "~5m00s", "~ by rule"),
    ],
)
def test_the_table_marks_where_a_time_comes_from(
    source: TimeSource, shown: str, note: str | None, tmp_path: Path
) -> None:
    found = lines(PlanCost(two_jobs(), Store(tmp_path), Times(source)), 1)
    assert any(line.startswith("│ 3") and f" {shown} " in line for line in found)
    notes = [line for line in found if line.startswith(("* ", "+ ", "~ "))]
    assert [line.startswith(note) for line in notes] == [True] if note else notes == []


def test_the_line_below_the_table(tmp_path: Path) -> None:
    cost = PlanCost(two_jobs(), Store(tmp_path), Times(TimeSource.TIMED))
    known = "expected in all: 5m00s; each job for itself: 6m00s; longest path: 3m00s"
    assert lines(cost, 1)[-1] == known
    assert lines(cost, 2)[-1] == f"{known}; with executor.slots=2: 3m00s"
    rough = PlanCost(two_jobs(), Store(tmp_path), Times(TimeSource.RULE))
    assert lines(rough, 1)[-1].startswith("expected in all: ~5m00s; each job for itself: ~6m00s")


def test_what_is_found_takes_no_time(tmp_path: Path) -> None:
    plan, store = two_jobs(), Store(tmp_path)
    shared = plan.jobs[0].stages["a"]
    store.folder(shared.key).mkdir(parents=True)
    cost = PlanCost(plan, store, Times(TimeSource.TIMED))
    assert lines(cost, 1)[-1] == "expected in all: 4m00s; each job for itself: 4m00s; longest path: 2m00s"
    for job in plan.jobs:
        store.folder(job.stages["b"].key).mkdir(parents=True)
    assert list(PlanCost(plan, store, Times(TimeSource.TIMED)).summary(2)) == []


def test_there_is_no_line_where_something_is_unknown(tmp_path: Path) -> None:
    def some(one: Stage) -> Any:
        return None if one.config["name"] == "shared" else Expected(1.0, TimeSource.WORK)

    cost = PlanCost(two_jobs(), Store(tmp_path), some)
    assert list(cost.summary(2)) == [] and any("2.0s + 1 unknown" in line for line in lines(cost, 2))


@pytest.mark.slow
def test_the_command_shows_it(tmp_path: Path) -> None:
    shown = inline(tmp_path, *SMALL, "do=plan", "executor=process", "executor.slots=2").stdout
    assert "~ by rule" in shown and "unknown" not in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("expected in all: ~")]
    assert "; each job for itself: ~" in line and "; longest path: ~" in line and "; with executor.slots=2: ~" in line
    assert "GFLOP an image" in shown


def test_only_a_plan_can_be_estimated(tmp_path: Path) -> None:
    refused = inline(tmp_path, *SMALL, "estimate=true")
    assert refused.returncode == 2 and "estimate" in refused.stdout + refused.stderr
    wrong = inline(tmp_path, *SMALL, "do=plan", "estimate=3")
    assert wrong.returncode == 2 and "estimate: expected true or false" in wrong.stdout + wrong.stderr
