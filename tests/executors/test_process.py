"""executor=process, with real workers: the same bits as inline, and what happens when processes die or stand still."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from sweeping import STEPS, SWEEP, TWO, Driver, finished_inline, scores, weights

from ablatent.executors.worker_process import launch
from commands import SMALL, built, found, run
from processes import gone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return finished_inline(tmp_path_factory.mktemp("inline") / "sweep")


def same(folder: Path, undisturbed: Path) -> None:
    assert weights(folder) == weights(undisturbed) and len(weights(folder)) >= 2
    assert scores(folder) == scores(undisturbed) and len(scores(folder)) == 2


def test_two_slots_give_the_bits_of_inline(small_sweep, tmp_path):
    done = run(tmp_path, "-m", "first_stage=kl,vq", *SMALL, *TWO)
    assert done.returncode == 0, done.stdout + done.stderr
    inline = small_sweep[0]
    images = [
        {p.parent.name: p.read_bytes() for p in f.glob("store/objects/samples/*/images.npy")}
        for f in (inline, tmp_path)
    ]
    assert images[0] == images[1] and len(images[0]) == 2
    assert scores(tmp_path) == scores(inline)
    again = run(tmp_path, "-m", "first_stage=kl,vq", *SMALL, *TWO)
    assert again.returncode == 0 and built(again.stdout) == [] and len(found(again.stdout)) == len(built(done.stdout))


def test_killed_and_silent_workers_are_replaced_and_go_on(undisturbed, tmp_path):
    """One worker is killed, the other stands still for longer than its heartbeat may."""
    driver = Driver(tmp_path, *SWEEP, *TWO, "executor.silent_seconds=6")
    killed = driver.checkpoint().parent.name
    os.kill(driver.worker_of(killed), signal.SIGKILL)
    other = driver.wait_for(
        lambda: next(
            (p.parent.name for p in tmp_path.glob("store/work/first_stage-*/last.ckpt") if p.parent.name != killed),
            None,
        )
    )
    os.kill(driver.worker_of(other), signal.SIGSTOP)
    assert driver.ended() == 0, driver.output
    assert "SIGKILL" in driver.output and "is silent" in driver.output and driver.output.count("attempt 2") == 2
    assert "2 of 2 jobs finished" in driver.output
    logs = "".join(p.read_text() for p in tmp_path.glob("store/sweeps/*/logs/first_stage-*.log"))
    assert logs.count("resumed at step") == 2
    same(tmp_path, undisturbed)


@pytest.mark.cluster
def test_a_killed_driver_takes_its_workers_along_and_do_resume_goes_on(undisturbed, tmp_path):
    driver = Driver(tmp_path)
    driver.checkpoint()
    workers = driver.workers()
    driver.send(signal.SIGKILL)
    driver.process.wait()
    deadline = time.monotonic() + 20
    while not all(map(gone, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    status = run(tmp_path, "do=status")
    assert "ended before its last job" in status.stdout and "do=resume sweep=" in status.stdout
    done = run(tmp_path, "do=resume")
    assert done.returncode == 0 and "2 of 2 jobs finished" in done.stdout, done.stdout + done.stderr
    assert len(list(tmp_path.glob("store/sweeps/*/report/report.html"))) == 1
    same(tmp_path, undisturbed)


@pytest.mark.parametrize("how", ["SIGINT", pytest.param("do=cancel", marks=pytest.mark.cluster)])
def test_a_command_that_is_ended_leaves_checkpoints_and_no_process(undisturbed, tmp_path, how):
    driver = Driver(tmp_path)
    driver.checkpoint()
    workers = driver.workers()
    if how == "SIGINT":
        driver.send(signal.SIGINT)
    else:
        ordered = run(tmp_path, "do=cancel")
        assert ordered.returncode == 0 and re.search(r"^next: .* do=resume sweep=", ordered.stdout, re.M), (
            ordered.stdout
        )
    assert driver.ended(30) == 128 + (signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
    assert all(map(gone, workers)) and "Kept: " in driver.output
    assert list(tmp_path.glob("store/work/first_stage-*/last.ckpt"))
    states = "".join(p.read_text() for p in tmp_path.glob("store/sweeps/*/stages/*.json"))
    assert '"stopped"' in states
    done = run(tmp_path, "do=resume", "executor=inline")
    assert done.returncode == 0 and "resumed at step" in done.stdout, done.stdout + done.stderr
    same(tmp_path, undisturbed)


@pytest.mark.cluster
def test_a_worker_that_stands_still_without_its_command_is_ended_by_the_next_one(undisturbed, tmp_path):
    """It holds the lock of its stage, and nobody is left who would end it."""
    driver = Driver(tmp_path)
    stopped = driver.worker_of(driver.checkpoint().parent.name)
    os.kill(stopped, signal.SIGSTOP)
    driver.send(signal.SIGKILL)
    driver.process.wait()
    again = Driver(tmp_path, *SWEEP, *TWO, "executor.silent_seconds=5")
    assert again.ended() == 0, again.output
    assert "ended there" in again.output and gone(stopped)
    same(tmp_path, undisturbed)


@pytest.mark.cluster
def test_a_stage_over_its_memory_fails_alone(tmp_path):
    done = run(tmp_path, *SWEEP, *TWO, "executor.memory_gib=0.2")
    assert done.returncode == 1 and done.stdout.count("executor.memory_gib=0.2") >= 1, done.stdout
    assert "attempt 2" not in done.stdout and "0 of 2 jobs finished" in done.stdout
    # with room enough, what failed is tried again
    retried = run(tmp_path, "do=retry", *TWO, "executor.memory_gib=8")
    assert retried.returncode == 0 and "2 of 2 jobs finished" in retried.stdout, retried.stdout + retried.stderr


@pytest.mark.cluster
def test_what_failed_stays_so_until_it_is_to_be_tried_again(tmp_path):
    """A training that diverges fails alone; resume leaves it, retry tries it, a refused job stays refused."""
    sweep = ["-m", "first_stage.training.lr=1e-3,1e30", "first_stage=kl", *SMALL, "task=reconstruct", *TWO]
    done = run(tmp_path, *sweep)
    assert done.returncode == 1 and "1 of 2 jobs finished" in done.stdout, done.stdout + done.stderr
    resumed = run(tmp_path, "do=resume")
    assert resumed.returncode == 1 and built(resumed.stdout) == [] and "failure left as" in resumed.stdout
    assert "begun on" not in resumed.stdout
    retried = run(tmp_path, "do=retry")
    assert retried.returncode == 1 and retried.stdout.count("begun on") == 1, retried.stdout


@pytest.mark.cluster
def test_two_commands_share_what_both_need(undisturbed, tmp_path):
    """Started at the same time on one store: each stage is built once, and neither waits longer than the build."""
    drivers = [Driver(tmp_path), Driver(tmp_path)]
    assert [d.ended() for d in drivers] == [0, 0], drivers[0].output + drivers[1].output
    kinds = [built(d.output) for d in drivers]
    assert sorted(kinds[0] + kinds[1]) == sorted(
        ["first_stage", "first_stage", "reconstruction", "reconstruction", "reference"]
    )
    same(tmp_path, undisturbed)


def test_the_steps_are_those_of_a_whole_training(undisturbed):
    rows = next(undisturbed.glob("store/objects/first_stage/*/curves.csv")).read_text().splitlines()
    assert rows[-1].split(",")[0] == str(STEPS)


def test_a_worker_that_cannot_begin_says_why_in_the_log(tmp_path):
    """What a worker prints before its first stage is kept with that stage."""
    (tmp_path / "ablatent").mkdir()
    (tmp_path / "ablatent" / "__init__.py").write_text("raise ImportError('a broken copy')\n")
    log = tmp_path / "stage.log"
    process, requests, answers = launch({"PYTHONPATH": str(tmp_path)}, str(log))
    with requests, answers:
        assert process.wait(60) == 1 and answers.read() == b""
    assert "a broken copy" in log.read_text()
