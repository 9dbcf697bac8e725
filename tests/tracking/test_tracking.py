"""Trackers: what they get, what they leave on disk, and how a run ends."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from ablatent.core.errors import ConfigError
from ablatent.tracking.base import NoTracking, TrackedJob, Tracking, flat_axes
from ablatent.tracking.csv_files import CsvTracking
from ablatent.tracking.tensorboard import TensorboardTracking
from ablatent.tracking.wandb_runs import WandbTracking

JOB = TrackedJob(
    index=3,
    name="first_stage=kl sampler.steps=20",
    axes={"first_stage": "kl", "sampler.steps": "20"},
    config={"sampler": {"steps": 20}, "first_stage": {"ch_mult": [1, 2]}},
    stages={"first_stage": "first_stage-aa", "scores": "scores-bb"},
)
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))


def use(tracking: Tracking, attempt: str = "one") -> dict[str, str]:
    with tracking.stage_run("first_stage-aa", "first_stage", {"lr": 1e-3}, "sweep1", attempt) as stage:
        stage.log(1, {"train/loss": 2.0})
        stage.log(2, {"train/loss": np.float32(1.0)})
        stage.images(2, "panels/reconstructions", IMAGE)
    with tracking.job_run("sweep1", JOB, "python run.py -m first_stage=kl,vq") as job:
        job.summary({"fid_192": 3.25})
        job.images(0, "samples", IMAGE)
    return {"stage": stage.info()["id"], "job": job.info()["id"]}


def inspected(folder: Path) -> dict:
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", folder, "--summary", "--json"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_axes_are_flat_scalars() -> None:
    flat = flat_axes({"first_stage": "kl", "sampler.steps": 20, "network.mult": [1, 2]})
    assert flat == {"axes_first_stage": "kl", "axes_sampler_steps": 20, "axes_network_mult": "[1, 2]"}


def test_ids_stay_on_resume_and_change_on_rebuild(tmp_path: Path) -> None:
    tracking = CsvTracking(tmp_path)
    first, again, rebuilt = use(tracking), use(tracking), use(tracking, "two")
    assert first == again
    assert rebuilt["stage"] != first["stage"]
    assert rebuilt["job"] == first["job"]


def test_none_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use(NoTracking())
    assert list(tmp_path.iterdir()) == []


def test_csv_folder_holds_the_run(tmp_path: Path) -> None:
    ids = use(CsvTracking(tmp_path))
    stage = tmp_path / "tracking/csv" / f"first_stage-{ids['stage']}"
    assert stage.joinpath("metrics.csv").read_text().split() == [
        "step,name,value",
        "1,train/loss,2.0",
        "2,train/loss,1.0",
    ]
    assert (stage / "images/panels_reconstructions-0000002.png").is_file()
    job = json.loads((tmp_path / "tracking/csv" / f"job-{ids['job']}/run.json").read_text())
    assert job["state"] == "finished"
    assert job["config"]["axes_sampler_steps"] == "20"
    assert job["summary"]["fid_192"] == 3.25
    assert job["config"]["stage_links"]["first_stage"] == {"key": "first_stage-aa", "run": ids["stage"]}
    assert job["summary"]["stages/first_stage/run"] == ids["stage"]


def test_csv_resume_drops_rows_that_are_trained_again(tmp_path: Path) -> None:
    tracking = CsvTracking(tmp_path)
    for steps in ([1, 2, 3, 4], [3, 4, 5]):
        with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
            for step in steps:
                run.log(step, {"train/loss": step})
    rows = Path(run.info()["dir"], "metrics.csv").read_text().split()[1:]
    assert [int(r.split(",")[0]) for r in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"step,name,value\nx,y,z\n\n1", b"[]"])
def test_damaged_rows_and_links_do_not_stop_a_training(tmp_path: Path, damage: bytes) -> None:
    tracking = CsvTracking(tmp_path)
    with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
        run.log(1, {"train/loss": 1})
    files = [Path(run.info()["dir"], "metrics.csv"), tmp_path / "tracking/stages/diffusion-aa.json"]
    for file in files:
        file.write_bytes(damage)
    with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
        run.log(2, {"train/loss": 2})
    assert files[0].read_text().splitlines()[-1] == "2,train/loss,2.0"
    assert json.loads(files[1].read_text())["csv"]["id"] == run.spec.id


def test_an_error_ends_the_run_as_failed_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), CsvTracking(tmp_path).job_run("s", JOB, "c") as run:
        _ = 1 / 0
    record = json.loads(Path(run.info()["dir"], "run.json").read_text())
    assert record["state"] == "failed"
    assert record["error"].startswith("ZeroDivisionError")


def test_tensorboard_events_can_be_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ids = use(TensorboardTracking(tmp_path))
    events = EventAccumulator(str(tmp_path / "tracking/tensorboard" / f"first_stage-{ids['stage']}"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 2.0), (2, 1.0)]
    assert events.Images("panels/reconstructions")


@pytest.mark.slow
def test_wandb_offline_runs_are_fresh_and_read_back(tmp_path: Path) -> None:
    before = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    tracking = WandbTracking("auto", "proj", None, tmp_path)
    ids = use(tracking)
    with pytest.raises(RuntimeError), tracking.job_run("sweep1", replace(JOB, index=4), "c") as failed:
        raise RuntimeError("fails on purpose")
    # WANDB_SERVICE is wandb's own address of its background process; we set nothing
    assert {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"} == before

    folders = {p.name.rsplit("-", 1)[1]: p for p in (tmp_path / "wandb").glob("offline-run-*")}
    assert set(folders) == {ids["stage"], ids["job"], failed.info()["id"]}
    job = inspected(folders[ids["job"]])
    assert job["state"] == "finished"
    assert job["summary"]["fid_192"] == 3.25
    assert job["summary"]["axes_first_stage"] == job["config"]["axes_first_stage"] == "kl"
    assert job["summary"]["axes_sampler_steps"] == job["config"]["axes_sampler_steps"] == "20"
    assert job["config"]["stage_links"]["first_stage"]["run"] == ids["stage"]
    assert "train/loss" not in job["summary"]
    stage = inspected(folders[ids["stage"]])
    assert (stage["state"], stage["step"], stage["summary"]["train/loss"]) == ("finished", 2, 1)
    broken = inspected(folders[failed.info()["id"]])
    assert (broken["state"], broken["exit_code"]) == ("failed", 1)
    assert "fails on purpose" in broken["summary"]["error"]
    assert "fid_192" not in broken["summary"]


def test_wandb_online_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that would go online, recorded: every argument is explicit, nothing is left to the environment."""
    import wandb

    calls = []

    def init(**kwargs: object) -> object:
        calls.append(kwargs)
        return real(**{**kwargs, "mode": "offline", "resume": None})

    real = wandb.init
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    tracking = WandbTracking("auto", "proj", "team", tmp_path)
    with tracking.stage_run("diffusion-aa", "diffusion", {"lr": 1e-3}, "sweep1", "t") as stage:
        pass
    with tracking.job_run("sweep1", JOB, "the command"):
        pass
    first, second = calls
    assert {c["mode"] for c in calls} == {"online"}
    assert {(c["project"], c["entity"], c["group"], c["dir"]) for c in calls} == {
        ("proj", "team", "sweep1", str(tmp_path))
    }
    assert (first["id"], first["job_type"], first["resume"]) == (stage.spec.id, "diffusion", "allow")
    assert first["config"]["lr"] == 1e-3
    assert second["job_type"] == "job"
    assert second["config"]["axes_first_stage"] == "kl"
    assert second["config"]["command"] == "the command"
    assert second["reinit"] == "create_new"


def test_mode_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = WandbTracking("auto", "p", None, tmp_path)
    assert tracking.resolved_mode() == "offline"
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password " + "x" * 40 + "\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking.resolved_mode() == "offline"  # a key for another host is no key
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert tracking.resolved_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracking.resolved_mode() == "offline"


def test_bad_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.mode.*Did you mean 'offline'"):
        WandbTracking("ofline", "p", None, tmp_path)
    with pytest.raises(ConfigError, match=r"tracking\.project"):
        WandbTracking("auto", "", None, tmp_path)


@pytest.mark.parametrize("name", ["none", "csv", "tensorboard", "wandb"])
def test_yaml_lists_every_option(name: str, tmp_path: Path) -> None:
    from hydra.utils import get_class, instantiate

    config = yaml.safe_load(Path(__file__).parents[2].joinpath(f"conf/tracking/{name}.yaml").read_text())
    assert set(config) - {"_target_"} == set(inspect.signature(get_class(config["_target_"])).parameters)
    if "dir" in config:
        assert config["dir"] == "${store.path}"
        config["dir"] = str(tmp_path)
    tracking = instantiate(config)
    assert isinstance(tracking, Tracking) and tracking.backend == name
