"""executor=slurm on a real Slurm: the same samples as inline, also after a killed and a requeued training."""

import os
import signal

import pytest
from slurm_cluster import Cluster, missing, wait_until
from slurm_commands import LONG, SLURM, Command, files_of, unfinished, worker_of

from commands import SMALL, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm of the tests' own: {missing()}"),
]
SWEEP = ["-m", "first_stage=kl", "seed=1,2", *SMALL, *LONG]


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as up:
        yield up
        assert not up.queue()
    wait_until(lambda: not up.folder.exists(), "an empty disk")


def test_a_sweep_whose_jobs_are_killed_and_requeued_gives_the_bits_of_inline(tmp_path, first_stages, cluster):
    folders = [tmp_path / name for name in ("inline", "slurm")]
    for folder in folders:
        folder.mkdir()
        first_stages(folder)
    command = Command(cluster, folders[1], *SWEEP, *SLURM)
    try:
        job, node, killed = command.training()
        os.kill(worker_of(killed), signal.SIGKILL)
        other, _, requeued = command.training(besides=job)
        cluster.run("scontrol", "requeue", other, check=True)
        inline = run(folders[0], *SWEEP)
        output = command.wait()
    finally:
        command.end()
    assert inline.returncode == 0, inline.stdout
    assert {job.partition("_")[2], other.partition("_")[2]} == {"0", "1"}, "both trainings are one job array"
    assert f"{killed.short:<24} lost its worker (job {job} on {node} ended as FAILED" in output
    assert f"{killed.short:<24} begun on Slurm, attempt 2" in output
    assert f"{requeued.short:<24} begun on Slurm, attempt" not in output, "Slurm itself begins it again"
    for kind in ("diffusion", "samples", "scores"):
        want, got = (files_of(folder, kind) for folder in folders)
        assert len(want) == 2 and got == want, kind
    assert not unfinished(folders[1]) and not list(folders[1].glob("store/sweeps/*/slurm"))
