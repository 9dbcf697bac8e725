"""How a worker of Ray has stages built by processes of its machine, which are shell scripts here. Needs no ray."""

import dataclasses
import os
import subprocess

import pytest

from ablatent.executors import ray_task
from ablatent.executors.ray_task import Ended, RayTask, build

TASK = RayTask("spec", "log", False, 1, False, None, "executor.resources.default.memory=0.5", "/", {})
SERVES = "while read line; do printf .; done"


@pytest.fixture
def started(monkeypatch):
    """(set the script, processes that were started with their environments)."""
    processes: list[tuple[subprocess.Popen, dict]] = []
    script = [SERVES]

    def launch(environment, output, cwd):
        reading, writing = os.pipe()
        process = subprocess.Popen(
            ["sh", "-c", script[0]], bufsize=0, stdin=subprocess.PIPE, stdout=writing, start_new_session=True
        )
        os.close(writing)
        processes.append((process, environment))
        return process, process.stdin, os.fdopen(reading, "rb", buffering=0)

    monkeypatch.setattr(ray_task, "launch", launch)
    monkeypatch.setattr(ray_task, "LEAVE_SECONDS", 5.0)
    monkeypatch.setattr(ray_task, "_waiting", [])
    yield script, processes
    for process, _ in processes:
        process.kill()
        process.wait()


def test_stages_that_are_not_trained_share_a_process(started):
    _, processes = started
    assert [build(TASK, "here"), build(TASK, "here")] == [Ended(), Ended()]
    assert len(processes) == 1 and processes[0][0].poll() is None


def test_a_training_has_a_process_of_its_own_which_ends_with_it(started):
    _, processes = started
    build(TASK, "here")
    build(dataclasses.replace(TASK, trained=True), "here")
    build(TASK, "here")
    assert [process.poll() for process, _ in processes] == [0, 0, None]


def test_another_number_of_threads_needs_another_process(started):
    _, processes = started
    build(TASK, "here")
    build(dataclasses.replace(TASK, threads=3), "here")
    assert [environment["OMP_NUM_THREADS"] for _, environment in processes] == ["1", "3"]


def test_a_stage_without_gpus_sees_none(started):
    _, processes = started
    build(TASK, "here")
    build(dataclasses.replace(TASK, gpus=True), "here")
    assert [environment.get("CUDA_VISIBLE_DEVICES") for _, environment in processes] == ["", None]


def test_a_process_that_dies_is_a_worker_lost(started):
    script, _ = started
    script[0] = "read line; kill -9 $$"
    assert build(TASK, "here") == Ended("it was ended by SIGKILL", again=True)


def test_too_much_memory_is_no_worker_lost(started, monkeypatch):
    script, processes = started
    script[0] = "read line; sleep 60"
    monkeypatch.setattr(ray_task, "MEMORY_SECONDS", 0.0)
    ended = build(dataclasses.replace(TASK, memory=1e-6), "here")
    assert not ended.again and ended.reason.endswith("GiB of memory; executor.resources.default.memory=0.5")
    assert processes[0][0].poll() is not None


def test_a_cancelled_build_gets_the_end_of_its_input_first(started, monkeypatch, tmp_path):
    script, processes = started
    script[0] = f"read line; cat; echo left > {tmp_path}/checkpoint"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray_task.select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(TASK, "here")
    assert processes[0][0].poll() == 0 and (tmp_path / "checkpoint").exists()


def test_a_build_that_does_not_end_is_killed(started, monkeypatch):
    script, processes = started
    script[0] = "trap '' TERM; read line; printf x; while :; do sleep 1; done"
    monkeypatch.setattr(ray_task, "LEAVE_SECONDS", 0.2)
    build(dataclasses.replace(TASK, trained=True), "here")
    assert processes[0][0].poll() == -9
