"""What goes wrong on a real Slurm, one fault after the other: make test-cluster."""

import functools
import os
import signal
import time

import pytest
from slurm_cluster import Cluster, missing, wait_until
from slurm_commands import LONG, SLURM, Command, files_of, unfinished, worker_of

from ablatent.store.layout import checkpoints_of, work_folder
from commands import SMALL, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm of the tests' own: {missing()}"),
]
JOB = ["first_stage=kl", *SMALL, *LONG]


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as up:
        yield up


@pytest.fixture
def folder(tmp_path, first_stages):
    """A folder with a store of first stages."""
    (tmp_path / "job").mkdir()
    first_stages(tmp_path / "job")
    return tmp_path / "job"


@pytest.fixture
def begin(cluster, folder):
    """Starts a command of the job on the cluster."""
    begun: list[Command] = []

    def command(*overrides: str) -> Command:
        begun.append(Command(cluster, folder, *(overrides or JOB), *([] if "do=cancel" in overrides else SLURM)))
        return begun[-1]

    yield command
    for command in begun:
        command.end()


@pytest.fixture(scope="module")
def inline(tmp_path_factory, first_stages):
    """Makes a folder in which a job was built inline, once for all tests."""

    @functools.cache
    def made(*overrides: str):
        made = tmp_path_factory.mktemp("inline")
        first_stages(made)
        assert run(made, *JOB, *overrides).returncode == 0
        return made

    return made


@pytest.fixture
def the_bits(inline, folder):
    """Compares the job's store with that of the same job inline."""

    def compare(*overrides: str) -> None:
        for kind in ("diffusion", "samples"):
            want, got = files_of(inline(*overrides), kind), files_of(folder, kind)
            assert want and got == want, kind
        assert not unfinished(folder)

    return compare


def test_a_time_limit_in_the_middle_of_a_training(begin, folder, the_bits):
    longer = ["training.steps=500"]
    limit = ["executor.resources.default.minutes=1", "executor.signal_seconds=10"]
    output = begin(*JOB, *longer, *limit).wait(seconds=400)
    (log,) = folder.glob("store/sweeps/*/logs/diffusion-*.log")
    ended = log.read_text().count("ended by SIGUSR2. Kept: what was finished, and a checkpoint")
    assert 1 <= ended <= 5, log.read_text()
    assert "attempt 2" not in output, "Slurm begins it again, not this command"
    the_bits(*longer)


def test_a_stage_that_takes_too_much_memory_has_failed(begin, folder):
    output = begin(*JOB, "executor.resources.diffusion.memory=0.2").wait(code=1)
    assert "took more memory than it was given" in output and "exceeded memory limit" in output
    assert "executor.resources.diffusion.memory is to be larger" in output
    assert "attempt 2" not in output


def test_a_job_that_its_user_cancels_has_failed(begin, cluster, folder):
    command = begin()
    job, node, key = command.training()
    cluster.run("scancel", job, check=True)
    output = command.wait(code=1)
    assert f"its worker was lost: job {job} on {node} was cancelled." in output and "attempt 2" not in output
    assert checkpoints_of(work_folder(folder / "store", key)) and not files_of(folder, "diffusion")


def test_a_node_that_dies(begin, cluster, the_bits):
    command = begin()
    _, node, key = command.training()
    cluster.kill_node(node)
    try:
        moved = command.until(lambda: [j for j in command.jobs() if j[2] == key and j[1] != node], "another node")
    finally:
        cluster.start_node(node)
    output = command.wait()
    assert moved and "attempt 2" not in output, "Slurm begins it again, not this command"
    the_bits()
    wait_until(lambda: len(cluster.idle()) == 2, "the node to be back")


def test_sigterm_of_a_preemption_requeues(begin, cluster, folder, the_bits):
    command = begin()
    job, _, _ = command.training()
    cluster.run("scancel", "--signal=TERM", job, check=True)
    output = command.wait()
    (log,) = folder.glob("store/sweeps/*/logs/diffusion-*.log")
    assert "ended by SIGTERM" in log.read_text() and "attempt 2" not in output
    the_bits()


def test_a_worker_that_is_silent(begin, the_bits):
    command = begin(*JOB, "executor.silent_seconds=8")
    _, _, key = command.training()
    os.kill(worker_of(key), signal.SIGSTOP)
    output = command.wait(seconds=360)
    assert "is silent" in output and "lost its worker (it was silent)" in output and "attempt 2" in output
    the_bits()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_that_is_ended_leaves_an_empty_queue(begin, cluster, folder, the_bits, number):
    command = begin()
    _, _, key = command.training()
    command.process.send_signal(number)
    start = time.monotonic()
    output = command.wait(code=128 + number)
    assert time.monotonic() - start < 20 and "checkpoints of 1 stage" in output
    assert not [line for line in cluster.queue() if " COMPLETING " not in line]
    assert checkpoints_of(work_folder(folder / "store", key))
    wait_until(lambda: not cluster.queue(), "an empty queue")
    begin().wait()
    the_bits()


def test_the_command_is_killed_and_given_again(begin, cluster, the_bits):
    command = begin()
    _, _, key = command.training()
    command.process.kill()
    again = begin()
    again.until(lambda: f"{key.short:<24} is built by another command" in again.output, "the running job")
    output = again.wait()
    assert f"{key.short:<24} begun" not in output and f"{key.short:<24} found" in output
    the_bits()
    wait_until(lambda: not cluster.queue(), "an empty queue")


def test_the_command_is_killed_while_a_job_waits_and_given_again(begin, cluster, the_bits):
    cluster.run("scontrol", "update", "partition=tests", "state=down", check=True)
    command = begin()
    command.until(lambda: any("PENDING" in line for line in cluster.queue()), "a job that waits")
    command.process.kill()
    again = begin()
    again.until(lambda: len(cluster.queue()) == 2, "a second job of the same stage")
    cluster.run("scontrol", "update", "partition=tests", "state=up", check=True)
    again.wait()
    the_bits()
    wait_until(lambda: not cluster.queue(), "an empty queue")


def test_do_cancel_ends_the_jobs_of_a_command_that_was_killed(begin, cluster, folder):
    command = begin()
    job, _, key = command.training()
    command.process.kill()
    command.process.wait()
    assert any(line.startswith(f"{job} ") for line in cluster.queue())
    assert "ended 1 job that it had left" in begin("do=cancel").wait()
    wait_until(lambda: not cluster.queue(), "an empty queue")
    assert checkpoints_of(work_folder(folder / "store", key))


def test_what_slurm_refuses_has_failed_with_its_message(begin):
    output = begin(*JOB, "executor.resources.default.partition=nowhere").wait(code=1)
    assert "Slurm refused its job" in output and "invalid partition" in output and "attempt 2" not in output


def test_several_devices_of_a_node(begin, cluster, folder):
    command = begin(*JOB, "runtime.devices=2", "executor.resources.default={cpus: 1, memory: 5}")
    job, _, _ = command.training()
    cluster.run("scontrol", "requeue", job, check=True)
    command.wait()
    assert files_of(folder, "samples") and not unfinished(folder)


def test_slurm_is_away_for_a_while(begin, cluster, the_bits):
    command = begin()
    command.training()
    controller = next(d for d in cluster.daemons if d.args[0] == "slurmctld")
    controller.terminate()
    controller.wait()
    command.until(lambda: "Slurm does not answer" in command.output, "that it is noticed")
    cluster.daemons[cluster.daemons.index(controller)] = cluster._background(controller.args)
    command.wait(seconds=360)
    the_bits()


def test_no_slurm_at_all(folder):
    done = run(folder, *JOB, *SLURM, env={"SLURM_CONF": str(folder / "nothing")})
    assert done.returncode == 2 and "executor: expected a Slurm that answers" in done.stdout, done.stdout + done.stderr
