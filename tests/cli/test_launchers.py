"""Hydra's launchers that run jobs one by one or in parallel: all jobs run, on one store; failures are seen."""

import json
import re

import pytest

from commands import SMALL, run

pytestmark = pytest.mark.slow

# A learning rate that makes the weights overflow: found out by the validation of the training.
FAILING = ["sampler.steps=2,3", "optimizer.lr=0.001,1e30", "training.clip=null", "latents.normalizer=none"]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_sweep_by(tmp_path, first_stages, launcher):
    first_stages(tmp_path)
    launched = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    done = run(tmp_path, "-m", "first_stage=kl", *SMALL, *launched, *FAILING, cold=True)
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    jobs = re.findall(r"^job (\d) sampler.steps=(\d) optimizer.lr=(\S+): (finished|failed)(.*)$", done.stdout, re.M)
    assert [(i, s, lr, end) for i, s, lr, end, _ in jobs] == [
        ("0", "2", "0.001", "finished"),
        ("1", "2", "1e+30", "failed"),
        ("2", "3", "0.001", "finished"),
        ("3", "3", "1e+30", "failed"),
    ], text
    reports = [re.search(r"report: (\S+\.html)$", rest)[1] for *_, rest in jobs]
    assert len(set(reports)) == 4 and all((tmp_path / path).exists() for path in reports)
    for path, state in zip(reports, ("finished", "failed") * 2, strict=True):
        (record,) = (tmp_path / path).parents[1].glob("jobs/*.json")
        assert json.loads(record.read_text())["status"] == state
    objects = tmp_path / "store" / "objects"
    assert {kind: len(list((objects / kind).iterdir())) for kind in ("diffusion", "samples", "scores")} == {
        "diffusion": 1,
        "samples": 2,
        "scores": 2,
    }
    logs = [path.read_text() for path in tmp_path.glob("store/hydra/.submitit/*/*.out")]
    built = re.findall(r"^\s+(\S+-[0-9a-f]{8})\s+built in", "\n".join([done.stdout, *logs]), re.M)
    assert len(built) == len(set(built)) and sum(name.startswith("diffusion") for name in built) == 1
    assert "Traceback" not in text


def test_a_sweep_without_failures_ends_with_code_0(own_sweep):
    folder, _ = own_sweep
    done = run(folder, "-m", "first_stage=kl,vq", *SMALL, "hydra/launcher=basic")
    assert done.returncode == 0 and done.stdout.count(": finished; report: store/sweeps/") == 2, done.stdout


def test_a_job_that_cannot_be_composed_is_found_before_any_runs(tmp_path):
    done = run(tmp_path, "-m", "first_stage=kl", *SMALL, "sampler=ddim,ddim2", "hydra/launcher=basic")
    assert done.returncode == 2 and "sampler" in done.stdout
    assert not (tmp_path / "store").exists()
