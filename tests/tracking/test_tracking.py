"""Trackers: what they get, what they leave on disk, and how a run ends."""

import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ablatent.core.errors import ConfigError
from ablatent.tracking import wandb_runs
from ablatent.tracking.base import NoTracking, Run, RunSpec, TrackedJob, Tracking, flat_axes
from ablatent.tracking.csv_files import CsvTracking
from ablatent.tracking.overview import SweepOverview
from ablatent.tracking.tensorboard import TensorboardTracking
from ablatent.tracking.wandb_runs import WandbTracking, cut
from ablatent.training.record import Recorder

JOB = TrackedJob(
    index=3,
    name="first_stage=kl sampler.steps=20",
    axes={"first_stage": "kl", "sampler.steps": "20"},
    config={"sampler": {"steps": 20}, "first_stage": {"ch_mult": [1, 2]}},
    stages={"first_stage": "first_stage-aa", "scores": "scores-bb"},
)
IMAGE = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


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
        with tempfile.TemporaryDirectory() as folder:
            Image.fromarray(IMAGE).save(Path(folder) / "grid.png")
            job.figure("samples", Path(folder) / "grid.png")
    return {"stage": stage.info()["id"], "job": job.info()["id"]}


def leet(folder: Path, *options: str) -> list[str]:
    """The lines that W&B's own reader prints of an offline run."""
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", folder, *options]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout.splitlines()


def inspected(folder: Path) -> dict:
    return json.loads("\n".join(leet(folder, "--summary", "--json")))


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
    figure = Image.open(tmp_path / "tracking/csv" / f"job-{ids['job']}" / "images/samples-0000000.png")
    assert np.array_equal(np.asarray(figure), IMAGE)
    job = json.loads((tmp_path / "tracking/csv" / f"job-{ids['job']}/run.json").read_text())
    assert job["state"] == "finished"
    assert job["config"]["axes_sampler_steps"] == "20"
    assert job["summary"]["fid_192"] == 3.25
    assert job["config"]["stage_links"]["first_stage"] == {"key": "first_stage-aa", "run": ids["stage"]}
    assert job["summary"]["stages/first_stage/run"] == ids["stage"]


def killed_and_resumed(tracking: Tracking, folder: Path) -> Run:
    """A training that was killed after step 40 and resumed from step 30 up to 60; a row every ten steps."""
    files: dict = {}
    for begin, end in ((0, 40), (30, 60)):
        with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
            recorder = Recorder(folder, run)
            recorder.resume(files)
            for step in range(begin + 1, end + 1):
                recorder.train(step, {"loss": 1 / step})
                if step == 30:
                    recorder.flush()
                    files = dict(recorder.files)
            recorder.panel(end, "samples", IMAGE)
            recorder.flush()
    return run


def losses(steps: tuple[int, ...]) -> list[tuple[int, float]]:
    """(step, loss) of `killed_and_resumed`: means over ten steps."""
    return [(s, pytest.approx(sum(1 / k for k in range(s - 9, s + 1)) / 10)) for s in steps]


WHOLE = losses((10, 20, 30, 40, 50, 60))


def test_csv_files_of_a_resumed_training_are_one_curve(tmp_path: Path) -> None:
    run = killed_and_resumed(CsvTracking(tmp_path), tmp_path)
    rows = [row.split(",") for row in Path(run.info()["dir"], "metrics.csv").read_text().split()[1:]]
    assert [(int(step), float(value)) for step, _, value in rows] == WHOLE


def test_tensorboard_events_of_a_resumed_training_are_one_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = killed_and_resumed(TensorboardTracking(tmp_path), tmp_path)
    events = EventAccumulator(run.info()["dir"])
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == WHOLE


@pytest.mark.slow
def test_offline_wandb_runs_of_a_killed_and_resumed_training_are_one_curve(tmp_path: Path) -> None:
    """The first process is killed for good, with its run open; what W&B would upload is read back from disk."""
    code = (
        "import json, os, signal, sys; from pathlib import Path;"
        "sys.path.insert(0, sys.argv[2]); import test_tracking as t;"
        "tracking = t.WandbTracking('offline', 'p', None, Path(sys.argv[1]));"
        "opened = tracking.stage_run('diffusion-aa', 'diffusion', {}, 's', 't'); run = opened.__enter__();"
        "recorder = t.Recorder(Path(sys.argv[1]), run); recorder.resume({});"
        "[recorder.train(step, {'loss': 1 / step}) for step in range(1, 31)]; recorder.panel(30, 'samples', t.IMAGE);"
        "recorder.flush(); Path(sys.argv[1], 'kept.json').write_text(json.dumps(recorder.files));"
        "[recorder.train(step, {'loss': 1 / step}) for step in range(31, 41)];"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, Path(__file__).parent], check=False)
    assert done.returncode == -9
    (first,) = (tmp_path / "wandb").glob("offline-run-*")
    first.with_name(first.name + "-1").mkdir()  # W&B's name of one that began in the same second
    tracking = WandbTracking("offline", "p", None, tmp_path)
    with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
        recorder = Recorder(tmp_path, run)
        recorder.resume(json.loads((tmp_path / "kept.json").read_text()))
        for step in range(31, 61):
            recorder.train(step, {"loss": 1 / step})
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder != first and run.spec.id in folder.name.split("-")
    records = [json.loads(line) for line in leet(folder, "--json")]
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [(row["_step"], row["train/loss"]) for row in rows if "train/loss" in row] == WHOLE
    assert len(list((folder / "files" / "media" / "images").glob("samples_30_*.png"))) == 1


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
    of_job = EventAccumulator(str(tmp_path / "tracking/tensorboard" / f"job-{ids['job']}"))
    of_job.Reload()
    assert of_job.Images("samples")


@pytest.mark.slow
def test_a_signal_ends_a_wandb_run_as_failed(tmp_path: Path) -> None:
    code = """
import sys, os, signal
from ablatent.core.signals import end_on_signals
end_on_signals()
from ablatent.tracking.wandb_runs import WandbTracking
tracking = WandbTracking("offline", "proj", None, sys.argv[1])
with tracking.stage_run("diffusion-0a", "diffusion", {}, "sweep", "one") as run:
    run.log(1, {"train/loss": 2.0})
    os.kill(os.getpid(), signal.SIGTERM)
    while True:  # as a training that looks at no signal
        pass
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=120, capture_output=True)
    assert done.returncode == 128 + 15, done.stderr
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    run = inspected(folder)
    assert (run["state"], run["exit_code"]) == ("failed", 1) and "signal" in run["summary"]["error"]
    assert run["summary"]["train/loss"] == 2


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
    listed = {name: (folders[ids[name]] / "files" / "requirements.txt").exists() for name in ("stage", "job")}
    assert listed == {"stage": True, "job": False}
    (figure,) = (folders[ids["job"]] / "files" / "media").rglob("*.png")
    assert np.array_equal(np.asarray(Image.open(figure)), IMAGE)
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


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "online"])
@pytest.mark.parametrize("place", ["closed port", "silent server", "refusing server", "no key"])
def test_a_server_that_cannot_be_used_stops_no_training(
    place: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real sockets: nobody listens; somebody accepts and never answers; somebody answers with an error."""
    monkeypatch.setattr(wandb_runs, "INIT_SECONDS", 2.0)
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    if place != "no key":
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    if place == "closed port":
        listener.close()
    if place == "refusing server":
        handler = type("Refusing", (BaseHTTPRequestHandler,), {"do_POST": lambda self: self.send_error(403)})
        server = HTTPServer(("127.0.0.1", 0), handler)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
    tracking, start = WandbTracking(mode, "p", None, tmp_path), time.monotonic()
    ids = use(tracking)
    assert time.monotonic() - start < 30
    listener.close()
    printed = " ".join(capsys.readouterr().out.split())
    assert {p.name.rsplit("-", 1)[1] for p in (tmp_path / "wandb").glob("offline-run-*")} == set(ids.values())
    assert not list((tmp_path / "wandb").glob("run-*")), "nothing of the attempts is left"
    overview = tracking.write_overview(SweepOverview("sweep1", [], [], [], []), tmp_path)
    assert overview is not None and f"wandb sync {tmp_path}/wandb/offline-run-*" in overview
    if (place, mode) == ("no key", "auto"):
        assert printed == "", "offline without a key is no trouble"
    else:
        assert printed.count("cannot be used") == 1
        assert f"wandb sync {tmp_path}/wandb/offline-run-*" in printed


@pytest.mark.slow
def test_the_printed_command_finds_the_runs_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my store"
    tracking = WandbTracking("offline", "p", None, folder)
    use(tracking)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # where wandb is
    (tmp_path / "elsewhere").mkdir()
    command = f"{tracking.sync_command} --dry-run"
    done = subprocess.run(command, shell=True, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True)
    output = done.stdout + done.stderr
    assert all(path.name in output for path in (folder / "wandb").glob("offline-run-*")), output


def test_a_server_that_is_gone_at_the_end_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """W&B gives up after FINISH_SECONDS with a TimeoutError: here it is raised at once."""
    tracking = WandbTracking("offline", "p", None, tmp_path)
    with tracking.stage_run("diffusion-aa", "diffusion", {}, "s", "t") as run:
        finish = run.run.run.finish

        def late(exit_code: int) -> None:
            finish(exit_code)
            raise TimeoutError

        run.run.run.finish = late
    assert f"wandb sync --include-online {run.info()['dir']}" in "".join(capsys.readouterr().out.split("\n"))
    assert tracking.online is False


def test_no_error_of_a_tracker_goes_further(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Full(Run):
        """A disk that is full, in whatever is done."""

        def log(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

        images = summary = info = close = log

    class FullTracking(CsvTracking):
        def open(self, spec: RunSpec) -> Run:
            return Full(spec)

        write_overview = Full.log

    class ClosedTracking(CsvTracking):
        def open(self, spec: RunSpec) -> Run:
            raise PermissionError("[/red] no folder")

    for tracking, text in ((FullTracking(tmp_path), "No space left"), (ClosedTracking(tmp_path), "[/red] no folder")):
        ids = use(tracking)
        assert ids["stage"] and ids["job"]
        printed = capsys.readouterr().out
        assert printed.count("tracking failed") == 1 and text in printed


def test_an_interrupt_inside_a_tracker_is_no_error_of_it(tmp_path: Path) -> None:
    class Stopped(CsvTracking):
        def open(self, spec: RunSpec) -> Run:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use(Stopped(tmp_path))


LONG = "first_stage.training.steps=1000 " * 8


@pytest.mark.slow
def test_names_over_the_limits_are_cut_and_stay_apart(tmp_path: Path) -> None:
    tracking = WandbTracking("offline", "p", None, tmp_path)
    for end in "ab":
        with tracking.job_run("sweep" * 60, replace(JOB, name=LONG + end), "c"):
            pass
        with tracking.stage_run("key-" * 50 + end, "kind" * 30 + end, {}, "sweep" * 60, "one"):
            pass
    runs = [
        next(r["run"] for line in leet(folder, "--json") if (r := json.loads(line))["type"] == "run")
        for folder in (tmp_path / "wandb").glob("offline-run-*")
    ]
    assert len(runs) == len({run["display_name"] for run in runs}) == 4
    assert all(len(run["display_name"]) <= 128 and len(run["run_group"]) <= 128 for run in runs)
    assert all(len(text) <= 64 for run in runs for text in [*run["tags"], run["job_type"], run["run_id"]])
    assert len({run["run_group"] for run in runs}) == 1, "one sweep stays one group"


def test_cut() -> None:
    assert cut("x" * 128, 128) == "x" * 128
    assert len(cut("x" * 129, 128)) == 128
    assert cut("x" * 129, 128) != cut("x" * 130, 128)


def test_bad_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.mode.*Did you mean 'offline'"):
        WandbTracking("ofline", "p", None, tmp_path)
    for name in ("", "a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", " a", "a\n", "x" * 129):
        with pytest.raises(ConfigError, match=r"tracking\.project"):
            WandbTracking("auto", name, None, tmp_path)
    with pytest.raises(ConfigError, match=r"tracking\.entity"):
        WandbTracking("auto", "p", "my/team", tmp_path)
    WandbTracking("auto", "Größe 64 (v2) – x" + "x" * 100, "team", tmp_path)


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
