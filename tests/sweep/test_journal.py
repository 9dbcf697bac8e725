"""Where a sweep stands, as other processes see it."""

import os
import signal
import time
from pathlib import Path

import pytest

from ablatent.core.progress import track
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import sweep_folder
from ablatent.store.records import Driver, JobFailure, PlannedStage, PlanRecord, StageOutcome
from ablatent.sweep import journal as module
from ablatent.sweep.journal import Journal, beating, driver_of, heartbeat_of, is_driven, states_of
from ablatent.sweep.resumed import failures_of, plan_of
from ablatent.sweep.run_sweep import RecordedSweep
from ablatent.sweep.sweep_status import show_sweep

A, B, C = (Key(f"latents-{letter * 32}") for letter in "abc")


def stage(*inputs: Key) -> PlannedStage:
    return PlannedStage(
        kind="latents",
        version=1,
        config={},
        inputs={f"i{n}": key for n, key in enumerate(inputs)},
        digests={},
        data={},
        builder="",
        trained=False,
        scored=False,
        figure=None,
        neutral={},
    )


def planned(sweep: str, stages: dict[Key, PlannedStage]) -> PlanRecord:
    return PlanRecord(id=SweepId(sweep), created="now", command="run.py", verb="run", axes={}, jobs=[], stages=stages)


def test_a_stage_from_its_beginning_to_its_end(tmp_path):
    journal = Journal(tmp_path)
    journal.begin(A, "node1:7", attempt=2)
    assert states_of(tmp_path)[A].where == "node1:7"
    journal.end(A, StageOutcome("failed", 1.25, JobFailure(A, "latents", "it fails", "")))
    state = states_of(tmp_path)[A]
    assert (state.status, state.where, state.attempt, state.seconds, state.message) == (
        "failed", "node1:7", 2, 1.25, "it fails",
    )  # fmt: skip


def test_damaged_states_are_left_out(tmp_path):
    journal = Journal(tmp_path)
    journal.begin(A)
    (tmp_path / "stages" / f"{B}.json").write_text("{half")
    assert set(states_of(tmp_path)) == {A}


def test_a_heartbeat_counts_on_and_shows_the_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    path = tmp_path / "beats" / "x.json"
    with beating(path), track("training", 100, "steps") as bar:
        bar.advance(40)
        deadline = time.monotonic() + 10
        while (beat := heartbeat_of(path)) is None or beat.beat < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert (beat.title, beat.done, beat.total, beat.unit) == ("training", 40, 100, "steps") and beat.rate > 0
    assert beat.where.endswith(f":{os.getpid()}")


def test_a_command_is_there_as_long_as_it_lives(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    assert not is_driven(tmp_path)
    with journal.driven("inline"):
        assert is_driven(tmp_path) and driver_of(tmp_path).executor == "inline"
    journal.left(1)
    assert not is_driven(tmp_path) and driver_of(tmp_path).code == 1


@pytest.mark.parametrize("what", ["another process has its number", "another host, and silent"])
def test_a_command_that_is_gone(tmp_path, what):
    journal = Journal(tmp_path)
    with journal.driven("inline"):
        driver = driver_of(tmp_path)
    if what == "another process has its number":
        gone = Driver(host=driver.host, pid=os.getpid(), began=1000.0, executor="inline")
    else:
        gone = Driver(host="elsewhere", pid=1, began=time.time(), executor="inline")
    module.write_json(tmp_path / "driver.json", gone.to_json())
    if what != "another process has its number":
        assert is_driven(tmp_path)  # as far as this machine can tell
        os.utime(tmp_path / "driver.json", (0, time.time() - 2 * module.SILENT_SECONDS))
    assert not is_driven(tmp_path)


def test_a_file_ends_a_command_as_sigterm_does(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with Journal(tmp_path).driven("inline"):
            (tmp_path / "cancel").touch()
            deadline = time.monotonic() + 10
            while not got:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got[0] == signal.SIGTERM
    with Journal(tmp_path).driven("inline"):  # the next command is not ended by the old wish
        assert not (tmp_path / "cancel").exists()


def test_what_do_status_shows_of_a_sweep(tmp_path, capsys):
    sweep = SweepId("20261124-101500-a1b2")
    journal = Journal(sweep_folder(tmp_path, sweep))
    plan = planned(sweep, {A: stage(), B: stage(A), C: stage(B)})
    with journal.driven("process"):
        journal.end(A, StageOutcome("built", 1.0))
        journal.begin(B, "slot 1", attempt=2)
        show_sweep(tmp_path, sweep, plan, watch=False)
    running = capsys.readouterr().out
    assert "runs since" in running and "slot 1" in running and "1 stage being built" in running
    assert "attempt 2 (running)" in running and "waiting" in running
    # killed: what it was building has stopped
    module.write_json(
        journal.folder / "driver.json", Driver(host="here", pid=1, began=1.0, executor="process", code=None).to_json()
    )
    os.utime(journal.folder / "driver.json", (0, 0))
    show_sweep(tmp_path, sweep, plan, watch=True)
    assert "stopped" in (out := capsys.readouterr().out) and f"do=resume sweep={sweep}" in out


def test_a_recorded_plan_has_its_inputs_first(tmp_path):
    """JSON sorts what it holds by key."""
    a = stage()
    keys = [plan_key(a)]
    for _ in range(6):
        keys.append(plan_key(stage(keys[-1])))
    stages = {keys[0]: a} | {key: stage(keys[i]) for i, key in enumerate(keys[1:])}
    shuffled = dict(sorted(stages.items()))
    record = planned("20261124-101500-a1b2", shuffled)
    from ablatent.store.records import PlannedJob

    roles = {f"r{i}": key for i, key in enumerate(reversed(keys))}
    job = PlannedJob(index=0, name="", overrides=[], axes={}, config={}, stages=roles, refused=None)
    plan = plan_of(PlanRecord(**{**vars(record), "jobs": [job]}))
    assert [s.key for s in plan.jobs[0].stages.values()] == keys and list(plan.stages) == keys


def plan_key(planned_stage: PlannedStage) -> Key:
    from ablatent.stages.stage import Stage

    return Stage.of(planned_stage.to_json()).key


def test_failures_are_what_reported_an_error(tmp_path):
    sweep = SweepId("20261124-101500-a1b2")
    journal = Journal(sweep_folder(tmp_path, sweep))
    journal.end(A, StageOutcome("failed", 2.0, JobFailure(A, "latents", "it fails", "")))
    journal.end(B, StageOutcome("skipped"))
    journal.waits(C, "stopped", "its command was ended")
    record = RecordedSweep(sweep, Path(journal.folder), planned(sweep, {}))
    failures = failures_of(record, tmp_path)
    assert set(failures) == {A} and failures[A].error.message == "it fails"
