"""What goes wrong on a real Ray cluster, one fault after the other (make test-cluster)."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from ray_nodes import Cluster
from ray_sweeps import Command, ends_soon, needs_ray, resumed

from processes import working_in

pytestmark = [pytest.mark.cluster, pytest.mark.slow, needs_ray]
NODE, WITHOUT_MEMORY = "127.0.0.3", "127.0.0.4"
LONG = ["first_stage=kl", "first_stage.training.steps=3000", "executor.retry_seconds=0.1"]
SAVED, UNSAVED = "runtime.checkpoint_seconds=1", "runtime.checkpoint_seconds=1000"


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        started.add(NODE, cpus=2)
        yield started


def goes_on(folder: Path, address: str | None) -> int:
    """The step at which the same training goes on, of another command in the folder of a command that has ended."""
    with Command(folder, address, *LONG, SAVED) as command:
        key, *_ = command.trains("first_stage", steps=1)
        return command.until(lambda: resumed(command.log(key)))


def test_a_training_that_always_dies_fails_alone(cluster, tmp_path):
    overrides = ["first_stage=kl,vq", "executor.retries=1", "executor.retry_seconds=0.1"]
    with Command(tmp_path, cluster.address, *overrides) as command:
        key, _, number = command.trains("first_stage", steps=1)
        os.kill(number, signal.SIGKILL)
        command.until(lambda: "attempt 2" in command.text)
        os.kill(command.until(lambda: command.process_of(key)), signal.SIGKILL)
        code = command.ends(240)
    assert code == 1, command.text
    assert "1 of 2 jobs finished" in command.text
    assert "It was tried 2 times." in command.text


@pytest.mark.parametrize("own, number", [(False, signal.SIGTERM), (True, signal.SIGINT)], ids=["cluster", "own Ray"])
def test_a_signal_to_the_command_has_its_builds_leave_checkpoints(cluster, tmp_path, own, number):
    address = None if own else cluster.address
    with Command(tmp_path, address, *LONG, UNSAVED) as command:
        key, _, build = command.trains("first_stage", steps=5)
        os.killpg(command.process.pid, number)  # as a terminal sends it, also to a Ray of its own
        assert command.ends(25) == 128 + number, command.text
        assert ends_soon(build)
    assert (tmp_path / "store" / "work" / key / "last.ckpt").exists()
    assert goes_on(tmp_path, address) >= 5


@pytest.mark.parametrize("own", [False, True], ids=["cluster", "own Ray"])
def test_no_build_outlives_a_command_that_is_killed(cluster, tmp_path, own):
    address = None if own else cluster.address
    with Command(tmp_path, address, *LONG, SAVED) as command:
        _, _, build = command.trains("first_stage")
        command.process.kill()
        assert ends_soon(build, 30)
        command.process.wait(10)
    until_nobody_works_in(tmp_path)
    assert goes_on(tmp_path, address) > 0


def test_a_build_that_hangs_is_ended_and_resumed(cluster, tmp_path):
    with Command(tmp_path, cluster.address, *LONG, SAVED, "executor.silent_seconds=6") as command:
        key, _, build = command.trains("first_stage")
        os.kill(build, signal.SIGSTOP)
        command.until(lambda: "lost its worker (it was silent)" in command.text)
        assert ends_soon(build)
        assert command.until(lambda: resumed(command.log(key))) > 0


def test_a_build_counts_though_its_worker_of_ray_hangs(cluster, tmp_path):
    overrides = ["first_stage=kl", "first_stage.training.steps=60", "executor.silent_seconds=6"]
    with Command(tmp_path, cluster.address, *overrides) as command:
        _, _, build = command.trains("first_stage", steps=1)
        worker = parent_of(build)
        os.kill(worker, signal.SIGSTOP)
        try:
            code = command.ends(240)
        finally:
            with contextlib.suppress(ProcessLookupError):  # Ray has ended it by then
                os.kill(worker, signal.SIGKILL)
    assert code == 0, command.text
    assert "is silent" in command.text
    assert "attempt 2" not in command.text


def test_ray_ends_what_a_node_has_no_memory_for(cluster, tmp_path):
    overrides = [*LONG, "executor.resources.default.custom={full: 1}"]
    cluster.add(WITHOUT_MEMORY, 1, '{"full": 1}', RAY_memory_usage_threshold="0.01")
    try:
        with Command(tmp_path, cluster.address, *overrides) as command:
            code = command.ends(120)
    finally:
        cluster.kill(WITHOUT_MEMORY)
    assert code == 1, command.text
    assert "no memory left; executor.resources." in command.text
    assert "attempt 2" not in command.text


def test_a_build_takes_no_more_memory_than_it_may(cluster, tmp_path):
    with Command(tmp_path, cluster.address, *LONG, "executor.resources.default.memory=0.2") as command:
        assert command.ends(120) == 1, command.text
    assert "GiB of memory; executor.resources.default.memory=0.2" in command.text
    assert "attempt 2" not in command.text


def test_what_no_machine_has_is_refused(tmp_path):
    with Command(tmp_path, None, *LONG, "executor.resources.default.cpus=5000") as command:
        assert command.ends(90) == 2, command.text
    assert "executor.resources" in command.text and "at most what this machine has" in command.text


def test_an_address_where_nobody_answers_is_refused(tmp_path):
    with Command(tmp_path, "127.0.0.9:6390", *LONG) as command:
        assert command.ends(120) == 2, command.text
    assert "executor.address" in command.text


def until_nobody_works_in(folder: Path, seconds: float = 150.0) -> None:
    """Wait for the end of all processes that a command has left: a Ray of its own needs a minute, its builds do not."""
    end = time.monotonic() + seconds
    while left := working_in(folder):
        assert time.monotonic() < end, left
        time.sleep(0.2)


def parent_of(number: int) -> int:
    """The process that has started a process."""
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
