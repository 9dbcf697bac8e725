"""A search by Optuna: what it asks, what it is told, and that it goes on after any end."""

import os
import signal
from statistics import median

import pytest

optuna = pytest.importorskip("optuna")  # the extra `search`

from search_cases import NAME, PLANE, Course, space, values_of  # noqa: E402

from ablatent.core.errors import AblatentError, ConfigError  # noqa: E402
from ablatent.search.designs import RandomDesign  # noqa: E402
from ablatent.search.record import FAILED, FINISHED, STOPPED  # noqa: E402
from ablatent.search.results import Outcome  # noqa: E402
from ablatent.search.study import JOURNAL  # noqa: E402
from ablatent.store.identity import SweepId  # noqa: E402
from ablatent.store.layout import search_folder  # noqa: E402

SWEEP = SweepId("20261129-120000-aaaa")


def bowl(at):
    return Outcome(FINISHED, [(at["x"] - 0.3) ** 2 + (at["y"] + 0.5) ** 2], SWEEP, 0)


def random_points(count):
    return RandomDesign(n_trials=count).points(PLANE)


def test_later_trials_are_better_than_random_ones(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, bowl)
    assert course.run(40, batch_size=4) == 0
    record = course.record
    assert len(record.trials) == 40 and [len(batch) for batch in course.launches] == [4] * 10
    (best,) = record.best
    assert best.values[0] == min(t.values[0] for t in record.trials) < 0.02
    drawn = [bowl(values_of(f"{key}={x}" for key, x in point.items())).values[0] for point in random_points(400)]
    assert median(t.values[0] for t in record.trials[20:]) < 0.5 * median(drawn)
    assert set(record.importance) == {"loss"} and abs(sum(record.importance["loss"].values()) - 1) < 1e-6


def test_a_search_in_two_commands_asks_what_one_command_asks(monkeypatch, tmp_path):
    whole = Course(monkeypatch, tmp_path / "whole", bowl)
    whole.run(16, startup_trials=4)
    parts = Course(monkeypatch, tmp_path / "parts", bowl)
    for n_trials in (6, 16, 16):
        parts.run(n_trials, startup_trials=4)
    assert parts.requested == whole.requested and parts.record.trials == whole.record.trials
    other = Course(monkeypatch, tmp_path / "other", bowl)
    other.run(2, seed=1)
    assert other.requested != whole.requested[:2]


def test_trials_that_were_at_work_when_the_driver_ended_are_tried_again(monkeypatch, tmp_path):
    whole = Course(monkeypatch, tmp_path / "whole", bowl)
    whole.run(8)
    course = Course(monkeypatch, tmp_path / "stopped", bowl)
    course.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        course.run(8)
    course.run(8)
    assert course.launches[2] == course.launches[3]  # the same parameters, before any others
    assert course.launches[:2] + course.launches[3:] == whole.launches
    states = [t.state for t in course.record.trials]
    assert states == [FINISHED] * 4 + [STOPPED] * 2 + [FINISHED] * 4
    assert course.run(8) == 0 and len(course.launches) == 5  # there is nothing left to do


def test_a_driver_that_is_killed_in_the_middle_of_a_line_goes_on(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, bowl)
    course.stop_at, course.end = 1, lambda: os.kill(os.getpid(), signal.SIGKILL)
    if (child := os.fork()) == 0:
        course.run(6)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    course.stop_at = None
    journal = search_folder(tmp_path, NAME) / JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"torn')
    journal.with_name(f"{JOURNAL}.lock").symlink_to(journal)  # Optuna's, of a process that is gone
    assert course.run(6) == 0
    states = [t.state for t in course.record.trials]
    assert states == [FINISHED] * 2 + [STOPPED] * 2 + [FINISHED] * 4
    assert course.run(7) == 0 and len(course.record.trials) == 9


def test_a_failed_trial_stops_nothing_and_is_told_by_the_exit_code(monkeypatch, tmp_path):
    def measure(at):
        return bowl(at) if at["x"] < 0.5 else Outcome(FAILED, sweep=SWEEP, reason="diverged\nat step 3")

    course = Course(monkeypatch, tmp_path, measure)
    assert course.run(12) == 1
    record = course.record
    failed = record.in_state(FAILED)
    assert failed and len(record.in_state(FINISHED)) == 12 - len(failed)
    assert all(t.reason == "diverged\nat step 3" and float(t.parameters["x"]) >= 0.5 for t in failed)
    assert course.run(12) == 1 and len(course.requested) == 12


def test_a_refused_trial_fails_with_its_reason(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, lambda at: bowl(at) if at["x"] < 0 else Outcome(FAILED))
    course.refused = "sampler: expected another"
    assert course.run(8) == 1
    assert {t.reason for t in course.record.in_state(FAILED)} == {course.refused}


def test_jobs_that_were_not_begun_end_the_search_which_goes_on_later(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, lambda at: Outcome(FAILED))  # no sweep, and no reason to refuse them
    with pytest.raises(AblatentError, match="The same command goes on"):
        course.run(4)
    course.measure = bowl
    assert course.run(4) == 0 and course.launches[0] == course.launches[1]


def test_several_objectives_have_a_front(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, lambda at: Outcome(FINISHED, [at["x"] ** 2, (at["x"] - 1) ** 2], SWEEP))
    course.run(12, objectives=("near", "far"))
    best = course.record.best
    assert len(best) > 1 and all(
        not (a.values[0] < b.values[0] and a.values[1] < b.values[1]) for a in course.record.trials for b in best
    )
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.pruner"):
        course.run(12, objectives=("near", "far"), pruner="median")


def test_equal_points_of_a_batch_are_one_job(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, lambda at: Outcome(FINISHED, [at["x"]], SWEEP))
    course.run(8, over=space("x=0,1"), batch_size=8)
    assert len(course.launches[0]) == 2 and len(course.record.in_state(FINISHED)) == 8


def test_another_search_does_not_go_on_under_the_same_name(monkeypatch, tmp_path):
    course = Course(monkeypatch, tmp_path, bowl)
    course.run(2)
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.name.*space"):
        course.run(4, over=space("x=interval(-2,1)", "y=interval(-1,1)"))
    assert len(course.requested) == 2


def test_an_environment_without_optuna_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'\.\[search\]'"):
        Course(monkeypatch, tmp_path, bowl).run(2)
