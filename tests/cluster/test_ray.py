"""A sweep on a real Ray cluster, with a worker that is killed and a node that dies, has the bits of one without."""

import os
import shutil
import signal

import pytest
from ray_nodes import Cluster
from ray_sweeps import Command, images, needs_ray, resumed

from commands import SMALL, run

pytestmark = [pytest.mark.slow, needs_ray]
NODES = ("127.0.0.3", "127.0.0.4")
JOBS = ["first_stage=kl", "sampler.steps=5,6"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(the finished command, its exit code, key of the training whose process was killed, that whose node died)."""
    folder = tmp_path_factory.mktemp("ray")
    with Cluster() as cluster:
        for ip in NODES:
            cluster.add(ip)
        overrides = [*JOBS, "runtime.checkpoint_seconds=0", "executor.retry_seconds=0.1"]
        with Command(folder, cluster.address, *overrides) as command:
            killed, _, number = command.trains("first_stage")
            os.kill(number, signal.SIGKILL)
            lost, where, _ = command.trains("diffusion")
            cluster.kill(where.partition("/")[0])
            code = command.ends(240)
    return command, code, killed, lost


def test_every_job_of_it_is_finished(swept):
    command, code, *_ = swept
    assert code == 0, command.text
    assert "2 of 2 jobs finished" in command.text


def test_what_was_lost_is_tried_again_and_resumed(swept):
    command, _, killed, lost = swept
    assert "lost its worker (it was ended by SIGKILL)" in command.text
    assert resumed(command.log(killed)) > 0
    assert resumed(command.log(lost)) > 0


def test_its_samples_have_the_bits_of_a_sweep_in_one_process(swept, small_sweep, tmp_path):
    command, *_ = swept
    shutil.copytree(small_sweep[0], tmp_path, dirs_exist_ok=True)  # which has the trainings
    assert run(tmp_path, "-m", *JOBS, *SMALL).returncode == 0
    inline = images(tmp_path)
    assert len(images(command.folder)) == 2
    assert images(command.folder) == {key: inline[key] for key in images(command.folder)}
