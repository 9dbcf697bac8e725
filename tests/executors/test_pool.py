"""The course of a sweep over workers. The engine is a stand-in, which ends each build as its stage says."""

import multiprocessing
from collections import deque
from pathlib import Path

import pytest

from ablatent.core.files import write_json
from ablatent.executors import course as course_module
from ablatent.executors.pool import Pool
from ablatent.executors.workers import Build, Over, Workers
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.layout import lock_file
from ablatent.store.locks import is_held, locked
from ablatent.store.records import JobFailure, StageOutcome
from ablatent.sweep.builder import Builder
from ablatent.sweep.executor import SweepRun
from ablatent.sweep.journal import Journal, states_of
from ablatent.sweep.plan import Job, Plan
from ablatent.sweep.schedule import Schedule


class Engine(Workers):
    """Builds at once, `slots` at a time; config["ends"] of a stage: how each of its attempts ends."""

    def __init__(self, store: Store, slots: int):
        self.store, self.slots = store, slots
        self.begun: list[str] = []
        self.builds: deque[Build] = deque()
        self.silent: dict[Key, Build] = {}
        self.killed: list[Key] = []

    def room(self, stage):
        return len(self.builds) + len(self.silent) < self.slots

    def start(self, build):
        self.begun.append(build.stage.config["name"])
        self.builds.append(build)
        return "here"

    def over(self, timeout):
        while self.builds:
            build = self.builds.popleft()
            ends = build.stage.config["ends"]
            how = ends[min(build.attempt, len(ends)) - 1]
            if how == "built":
                self.store.get_or_build(build.stage.key, lambda work: (work.files / "x").write_text("x"))
            if how in ("built", "failed"):
                error = JobFailure(build.stage.key, build.stage.kind, "it fails", "") if how == "failed" else None
                write_json(build.end, StageOutcome(how, 1.0, error).to_json())
            if how == "silent":
                write_json(build.beat, {"beat": 1, "where": "here"})
                self.silent[build.stage.key] = build
            elif how == "published and killed":
                self.store.get_or_build(build.stage.key, lambda work: (work.files / "x").write_text("x"))
                yield Over(build.stage.key, "SIGKILL")
            else:
                yield Over(build.stage.key, how, again=how != "too much memory")
        for key in self.killed:
            del self.silent[key]
            yield Over(key, "silent")
        self.killed.clear()

    def kill(self, key):
        self.killed.append(key)

    def stop(self, timeout):
        pass

    def close(self):
        pass


class Trusting(Builder):
    """Finds what is there, whatever code built it."""

    def _still_good(self, found, stage):
        return True


class OnEngine(Pool):
    """The executor of a stand-in."""

    def __init__(self, engine, **options):
        super().__init__(**options)
        self.engine = engine

    def workers(self, sweep):
        return self.engine


def stage(name: str, *inputs: Stage, ends=("built",), kind="latents", trained=False, **more) -> Stage:
    keys = {f"i{n}": read.key for n, read in enumerate(inputs)}
    return Stage(kind=kind, version=1, config={"name": name, "ends": list(ends)}, inputs=keys, trained=trained, **more)


@pytest.fixture
def course(tmp_path: Path, monkeypatch):
    """jobs (each a list of stages), options → (engine, job → statuses of its stages, journal's states)."""
    monkeypatch.setattr(course_module, "LOOK_SECONDS", 0.01)

    def run(*jobs: list[Stage], slots=1, given_up=None, **options):
        store = Store(tmp_path)
        plan = Plan([Job(i, [], {}, stages={s.config["name"]: s for s in stages}) for i, stages in enumerate(jobs)])
        ends: dict[int, dict[str, str]] = {}
        journal = Journal(tmp_path / "sweep")
        sweep = SweepRun(
            plan,
            Trusting(store, {}, "sweep"),
            journal,
            lambda job, roles, _: ends.update({job.index: {name: o.status for name, o in roles.items()}}),
            given_up=given_up or {},
        )
        engine = Engine(store, slots)
        OnEngine(engine, **{"retry_seconds": 0.01, **options}).run(sweep)
        return engine, ends, states_of(journal.folder)

    return run


def test_the_longest_path_first_and_inputs_before_readers(course) -> None:
    a, b = stage("a"), stage("b", kind="first_stage", trained=True)
    below = stage("below", b, kind="diffusion", trained=True)
    engine, ends, _ = course([a], [b, below])
    assert engine.begun == ["b", "below", "a"]
    assert ends == {0: {"a": "built"}, 1: {"b": "built", "below": "built"}}


def test_a_shared_stage_is_built_once_and_found_afterwards(course) -> None:
    a = stage("a")
    first, second = stage("first", a), stage("second", a)
    engine, ends, _ = course([a, first], [a, second], slots=2)
    assert engine.begun == ["a", "first", "second"] and ends[1]["a"] == "built"
    again, ends, _ = course([a, first], [a, second])
    assert again.begun == [] and ends[0] == {"a": "found", "first": "found"}


def test_an_error_of_the_build_is_not_tried_again_and_skips_what_is_below(course) -> None:
    bad = stage("bad", ends=["failed"])
    engine, ends, states = course([bad, stage("below", bad)], [stage("other")])
    assert sorted(engine.begun) == ["bad", "other"]
    assert ends == {0: {"bad": "failed", "below": "skipped"}, 1: {"other": "built"}}
    assert states[bad.key].status == "failed" and states[bad.key].message == "it fails"


def test_a_lost_worker_is_tried_again_and_then_given_up(course) -> None:
    once, ever = stage("once", ends=["SIGKILL", "built"]), stage("ever", ends=["SIGKILL"])
    engine, ends, states = course([once], [ever], retries=2)
    assert engine.begun.count("once") == 2 and engine.begun.count("ever") == 3
    assert ends == {0: {"once": "built"}, 1: {"ever": "failed"}}
    assert states[once.key].attempt == 2 and "SIGKILL" in states[ever.key].message


def test_what_must_not_be_tried_again(course) -> None:
    engine, ends, states = course([big := stage("big", ends=["too much memory"])])
    assert engine.begun == ["big"] and ends[0]["big"] == "failed" and "too much memory" in states[big.key].message


def test_what_a_killed_worker_had_published_counts(course) -> None:
    engine, ends, _ = course([stage("a", ends=["published and killed"])])
    assert engine.begun == ["a"] and ends[0]["a"] == "built"


def test_a_silent_worker_is_ended_and_its_stage_tried_again(course) -> None:
    engine, ends, states = course([a := stage("a", ends=["silent", "built"])], silent_seconds=0.05)
    assert engine.begun == ["a", "a"] and ends[0]["a"] == "built" and states[a.key].attempt == 2


def test_fail_fast_begins_nothing_after_the_first_failure(course) -> None:
    first = stage("first", ends=["failed"], trained=True)
    engine, ends, _ = course([first], [stage("later")], fail_fast=True)
    assert engine.begun == ["first"] and ends == {0: {"first": "failed"}, 1: {"later": "skipped"}}


def test_what_is_given_up_is_not_begun(course) -> None:
    a = stage("a")
    failure = StageOutcome("failed", 0.0, JobFailure(a.key, a.kind, "it failed before", ""))
    engine, ends, _ = course([a, stage("below", a)], [stage("b")], given_up={a.key: failure})
    assert engine.begun == ["b"] and ends[0] == {"a": "failed", "below": "skipped"}


def test_what_another_command_builds_is_waited_for_without_a_worker(course, monkeypatch) -> None:
    looks: list[Path] = []

    def busy(path: Path) -> bool:
        looks.append(path)
        return path.name.startswith("latents") and len(looks) < 6

    monkeypatch.setattr(course_module, "is_held", busy)
    a, b = stage("a"), stage("b", kind="samples")
    engine, ends, _ = course([a], [b])
    assert engine.begun == ["b", "a"] and ends == {0: {"a": "built"}, 1: {"b": "built"}}


def test_stages_that_would_prepare_the_same_images_do_not_wait_for_each_other_in_workers(course) -> None:
    images = {"images": "0" * 32}
    a, b = (stage(name, digests=images) for name in "ab")
    engine, _, _ = course([a], [b], slots=2)
    assert engine.begun == ["a", "b"]
    seen = []
    start = Engine.start

    def one_at_a_time(self, build):
        seen.append(len(self.builds))
        return start(self, build)

    Engine.start = one_at_a_time
    try:
        c, d = (stage(name, digests=images, kind="samples") for name in "cd")
        course([c], [d], slots=2)
    finally:
        Engine.start = start
    assert seen == [0, 0]


def test_a_lock_of_another_process_is_seen(tmp_path: Path) -> None:
    path = lock_file(tmp_path, stage("a").key)
    assert not is_held(path)
    ready, go = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Event()

    def hold() -> None:
        with locked(path, "a"):
            ready.set()
            go.wait(10)

    holder = multiprocessing.get_context("fork").Process(target=hold)
    holder.start()
    assert ready.wait(10) and is_held(path)
    go.set()
    holder.join()
    assert not is_held(path)


def test_every_stage_of_many_chains_comes_after_its_inputs() -> None:
    chains = [[stage(f"{i}-0")] for i in range(200)]
    for chain in chains:
        for depth in range(1, 4):
            chain.append(stage(f"{chain[0].config['name']}-{depth}", chain[-1]))
    stages = {s.key: s for chain in chains for s in chain}
    schedule, done = Schedule(stages, lambda _: 1.0), []
    while (key := schedule.take()) is not None:
        assert all(read in done for read in stages[key].inputs.values())
        schedule.finish(key)
        done.append(key)
    assert schedule.done and len(done) == 800
