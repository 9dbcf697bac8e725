"""runtime.devices=2 through the real command line: two gloo ranks started by torchrun, on the CPU."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ablatent.core.errors import ConfigError
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.sweep.check import check_batch, check_runtime
from commands import SMALL, built, found, run, words
from processes import descendants, gone

TWO = ["first_stage=vq", *SMALL, "runtime.devices=2", "first_stage.training.steps=40", "runtime.checkpoint_seconds=0"]


NO_GPU = "runtime.device: expected cpu or auto where torch sees no GPU; got 'gpu'. Use runtime=cpu."


@pytest.mark.parametrize(
    ("executor", "refused"),
    [
        ({"_target_": "ablatent.executors.inline.Inline"}, NO_GPU),
        ({"_target_": "ablatent.executors.process.Process"}, NO_GPU),
        ({"_target_": "ablatent.executors.slurm.Slurm"}, None),
        ({"_target_": "ablatent.executors.ray_cluster.Ray"}, NO_GPU),
        ({"_target_": "ablatent.executors.ray_cluster.Ray", "address": "head:6379"}, None),
    ],
)
def test_a_machine_without_a_gpu_refuses_one_where_it_builds_itself(monkeypatch, executor, refused):
    """A login node has none, and the nodes of its cluster do."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    if refused is None:
        check_runtime({"device": "gpu", "devices": 4}, executor)
        return
    with pytest.raises(ConfigError) as raised:
        check_runtime({"device": "gpu", "devices": 4}, executor)
    assert str(raised.value) == refused


def written(store: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in store.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A command killed with -9 while two ranks train its first stage, and the same command again."""
    folder = tmp_path_factory.mktemp("devices")
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(words(*TWO), cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + 600
    while not list((folder / "store/work").glob("first_stage-*/last.ckpt")):
        assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)
    ranks = descendants(child.pid)
    assert len(ranks) >= 3, "an agent and two ranks"
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 60
    while left := [pid for pid in ranks if not gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    before = written(folder / "store")
    time.sleep(1.5)
    assert written(folder / "store") == before, "an orphan wrote"
    return folder, run(folder, *TWO)


@pytest.mark.slow
def test_the_parent_killed_leaves_nothing_and_the_same_command_goes_on(killed):
    folder, done = killed
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed at step" in done.stdout
    assert {"first_stage", "diffusion"} <= set(built(done.stdout))
    assert not list((folder / "store/work").iterdir())
    for kind in ("first_stage", "diffusion"):
        (item,) = (folder / "store/objects" / kind).iterdir()
        assert (item / "curves.csv").read_text().count("step,name,value") == 1
        names = {p.name for p in item.iterdir()}
        assert not any("part" in name or "rank" in name for name in names), names
    again = run(folder, *TWO)
    assert again.returncode == 0 and not built(again.stdout) and "first_stage" in found(again.stdout)


@pytest.mark.slow
def test_what_fails_on_the_ranks_is_the_error_of_the_stage(killed):
    folder, _ = killed
    done = run(folder, *TWO, "optimizer.lr=1e30", "training.clip=null", "latents.normalizer=none")
    assert done.returncode == 1
    assert re.search(r"the training diverged at step \d+: .*Lower optimizer\.lr", done.stdout), done.stdout
    (note,) = (folder / "store/work").glob("diffusion-*/error.json")
    assert "On rank " in note.read_text() and "in look" in note.read_text()


def test_a_batch_that_the_parts_do_not_divide_is_refused():
    kind = FirstStageKind()
    stage = kind.stage({"training": {"batch_size": 12}})
    check_batch(stage, kind, {"devices": 2, "grad_accum_steps": 3})
    with pytest.raises(ConfigError, match=r"first_stage\.training\.batch_size: expected a multiple of .* = 8; got 12"):
        check_batch(stage, kind, {"devices": 2, "grad_accum_steps": 4})
    check_batch(kind.stage({}), kind, {"devices": 5, "grad_accum_steps": 1})
