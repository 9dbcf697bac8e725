"""What an executor begins after a failure. Stages are built by a stand-in, which fails where its stage says so."""

from pathlib import Path

import pytest

from ablatent.core.errors import StageError
from ablatent.executors.inline import Inline
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.records import StageOutcome
from ablatent.sweep.builder import Builder
from ablatent.sweep.executor import SweepRun
from ablatent.sweep.journal import Journal
from ablatent.sweep.plan import Job, Plan
from ablatent.sweep.run_sweep import job_record


class Recording(Builder):
    """Notes the stages that it is given, and builds none."""

    def __call__(self, stage: Stage):
        self.begun.append(stage.config["name"])
        if stage.config["fails"]:
            raise StageError("it fails")
        return None, True, 1.0


def run(executor: Inline, tmp_path: Path) -> tuple[list[str], dict[int, str], dict[int, str]]:
    """(begun stages, job → status, job → message) of three jobs, of which the middle one fails."""
    jobs = []
    for n, fails in enumerate((False, True, False)):
        first = Stage(kind="first_stage", version=1, config={"name": f"first {n}", "fails": fails})
        below = Stage(kind="latents", version=1, config={"name": f"below {n}", "fails": False}, inputs={"f": first.key})
        jobs.append(Job(n, [], {}, stages={"first_stage": first, "latents": below}))
    builder = Recording(Store(tmp_path), {}, "sweep")
    builder.begun = []
    outcomes: dict[int, dict[str, StageOutcome]] = {}
    journal = Journal(tmp_path / "sweep")
    executor.run(SweepRun(Plan(jobs), builder, journal, lambda job, found, _: outcomes.update({job.index: found})))
    records = {n: job_record(jobs[n], found, 0.0) for n, found in outcomes.items()}
    messages = {n: record.error.message for n, record in records.items() if record.error}
    return builder.begun, {n: record.status for n, record in records.items()}, messages


def test_a_failure_skips_what_is_below_it(tmp_path: Path) -> None:
    begun, states, messages = run(Inline(fail_fast=False), tmp_path)
    assert begun == ["first 0", "below 0", "first 1", "first 2", "below 2"]
    assert states == {0: "finished", 1: "failed", 2: "finished"} and messages == {1: "it fails"}


def test_fail_fast_begins_nothing_after_the_first_failure(tmp_path: Path) -> None:
    begun, states, messages = run(Inline(fail_fast=True), tmp_path)
    assert begun == ["first 0", "below 0", "first 1"]
    assert states == {0: "finished", 1: "failed", 2: "failed"}
    assert messages[1] == "it fails" and "executor.fail_fast=true" in messages[2]


@pytest.mark.parametrize("key", ["executor.fail_fast=true", "executor.fail_fast=false"])
def test_the_key_decides_no_stage(key: str) -> None:
    from ablatent.sweep.plan import Composed, make_plan
    from composing import composed

    plain, other = (
        make_plan([Composed([], composed("preset=tiny", "data=digits", *overrides))]) for overrides in ((), (key,))
    )
    assert set(plain.stages) == set(other.stages)
