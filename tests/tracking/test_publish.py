"""do=publish: what it would send is written without a key; with one, the calls are those of W&B's public API."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import wandb
from report_store import build
from wandb_server import ENTITY, KEY, Server, wandb_server

from ablatent.core.errors import ConfigError
from ablatent.report.code_link import web_address
from ablatent.report.load import load_sweep
from ablatent.report.publication import curve_axes
from ablatent.report.publish import PublishChoice, publish
from ablatent.report.published_claims import claims_in
from ablatent.tracking import wandb_publish, wandb_sync
from ablatent.tracking.base import TrackedJob
from ablatent.tracking.wandb_publish import PublishError
from ablatent.tracking.wandb_runs import WandbTracking
from commands import inline

VERDICTS = {
    "claims": {
        "kl_wins": {
            "id": "A",
            "statement": "KL first stages give better samples than VQ.",
            "verdict": "agree",
            "contrasts": {
                "kl_vq": {
                    **{"metric": "fid_192", "verdict": "agree", "effect": -0.4123, "interval": [-0.61, -0.2]},
                    **{"replicates": {"of": 3, "against": 3}, "reason": ""},
                }
            },
        }
    }
}
BOTH = ["checkpoints", "samples"]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))


def choice(artifacts: list[str] | None = None, dry: bool = False, project: str | None = "proj") -> PublishChoice:
    return PublishChoice(project=project, entity=None, otherwise=None, artifacts=artifacts or [], dry=dry)


def swept(root: Path) -> str:
    """A sweep of two first stages and two numbers of steps, with trained stages and verdicts; without runs."""
    sweep = build(root, {"first_stage": ["kl", "vq"], "sampler.steps": ["5", "20"]})
    (root / "FORMAT").write_text("2\n")
    path = root / "sweeps" / sweep / "plan.json"
    plan = json.loads(path.read_text())
    for stage in plan["stages"].values():
        stage["trained"] = stage["kind"] in ("first_stage", "diffusion")
    path.write_text(json.dumps(plan))
    report = root / "sweeps" / sweep / "report"
    report.mkdir()
    (report / "verdicts.json").write_text(json.dumps(VERDICTS))
    return sweep


def tracked(root: Path, sweep: str) -> WandbTracking:
    """Real offline runs of all trained stages and jobs of the sweep, all on disk."""
    tracking, loaded = WandbTracking("offline", "proj", None, root), load_sweep(root, sweep)
    for stored in loaded.objects.values():
        if stored.planned.trained:
            with tracking.stage_run(stored.key, stored.kind, dict(stored.config), sweep, "attempt") as run:
                run.log(1, {"train/loss": 0.5})
    for job in loaded.jobs:
        planned = TrackedJob(job.index, job.name, {k: str(v) for k, v in job.axes.items()}, job.config, job.stages)
        with tracking.job_run(sweep, planned, loaded.command) as run:
            run.summary({name: score.value for name, score in job.scores.items()})
            run.images(0, "samples", np.zeros((8, 8, 3), np.uint8))
    wandb.teardown()
    return tracking


def specification(root: Path, sweep: str) -> dict:
    return json.loads((root / "sweeps" / sweep / "report" / "publish.json").read_text())


def panels(view: dict) -> list[dict]:
    """The panels of a workspace's specification."""
    return [panel for section in view["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]


def columns(panel: dict) -> list[tuple[str, str]]:
    return [(column["accessor"], column.get("displayName")) for column in panel["config"]["columns"]]


def check_workspace(view: dict) -> None:
    shown = panels(view)
    (coordinates,) = [panel for panel in shown if panel["viewType"] == "Parallel Coordinates Plot"]
    found = columns(coordinates)
    assert [name for _, name in found[:3]] == ["first_stage", "sampler.steps", "FID(quick)"]
    assert [accessor for accessor, _ in found[:3]] == [
        "config:axes_first_stage.value",
        "config:axes_sampler_steps.value",
        "summary:fid_192",
    ]
    scatters = [panel["config"] for panel in shown if panel["viewType"] == "Scatter Plot"]
    assert scatters[0]["xAxis"] == "config:nfe.value" and scatters[0]["yAxis"] == "summary:fid_192"
    assert "summary:psnr" not in [c["yAxis"] for c in scatters], "reconstructions are not sampled"
    lines = [panel["config"] for panel in shown if panel["viewType"] == "Run History Line Plot"]
    (grouped,) = [c for c in lines if c["chartTitle"] == "validation/loss by first_stage"]
    assert grouped["metrics"] == ["validation/loss"] and grouped["groupBy"] == "axes_first_stage.value"
    assert not [c for c in lines if "by sampler.steps" in c["chartTitle"]], "steps change no training"
    assert any(panel["viewType"] == "Media Browser" for panel in shown)


def check_report(spec: dict) -> None:
    text = json.dumps(spec, ensure_ascii=False)
    for part in (
        *("Does the first stage matter?", "A. KL first stages give better samples than VQ.", "**agree**"),
        *("effect -0.4123, interval -0.61 to -0.2", "trainings 3 and 3", "python run.py -m first_stage=kl,vq"),
        *("FID(quick)", "0123abcd0123"),
    ):
        assert part in text, part


@pytest.mark.slow
def test_without_a_key_the_specification_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = swept(tmp_path)
    tracked(tmp_path, sweep)
    assert publish(tmp_path, sweep, choice(BOTH)) == 0
    printed = capsys.readouterr().out
    assert "there is no key" in printed and "/authorize" in printed and "8 runs to sync" in printed
    spec = specification(tmp_path, sweep)
    assert spec["sent"] is None and (spec["project"], spec["entity"]) == ("proj", None)
    check_workspace(spec["workspace"]["spec"])
    check_report(spec["report"]["spec"])
    assert spec["report"]["displayName"] == "KL or VQ"
    assert len(spec["runs"]) == 8 and all(run["folders"][0]["to_sync"] for run in spec["runs"])
    assert all(Path(run["folders"][0]["path"]).is_dir() for run in spec["runs"])
    jobs = [run for run in spec["runs"] if run["job_type"] == "job"]
    assert [run["config"]["nfe"] for run in jobs] == [5, 20, 5, 20]
    types = {(i["name"].split("-")[0], i["name"].endswith("-manifest")): i["type"] for i in spec["artifacts"]}
    assert types == {
        **{("first_stage", False): "model", ("diffusion", False): "model"},
        **{("samples", False): "dataset", ("reconstruction", False): "dataset"},
        **{("latents", True): "stage", ("reference", True): "stage"},
    }
    for item in spec["artifacts"]:
        names = [file["name"] for file in item["files"]]
        assert "manifest.json" in names and (item["type"] == "stage") == (len(names) == 1)
        assert all(file["size"] == Path(file["path"]).stat().st_size for file in item["files"])


def test_a_sweep_of_another_tracker_has_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = swept(tmp_path)
    with pytest.raises(ConfigError, match="project=NAME"):
        publish(tmp_path, sweep, choice(project=None))
    assert publish(tmp_path, sweep, choice()) == 0
    assert "0 runs to sync" in capsys.readouterr().out
    assert specification(tmp_path, sweep)["artifacts"] == []


def test_a_person_who_keeps_wandb_offline_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = swept(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens: a call would raise
    assert publish(tmp_path, sweep, choice()) == 0
    assert "Nothing was sent: WANDB_MODE" in capsys.readouterr().out


def test_the_command_takes_its_keys_and_refuses_others(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "store")
    done = inline(tmp_path, "do=publish", "project=proj", "artifacts=[samples]", f"sweep={sweep}", "dry=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dry=true" in done.stdout and specification(tmp_path / "store", sweep)["artifacts"]
    done = inline(tmp_path, "do=publish", "project=proj", "artifacts=[weights]")
    assert done.returncode == 2 and "artifacts" in done.stdout and "checkpoints" in done.stdout
    done = inline(tmp_path, "do=publish", "project=a/b")
    assert done.returncode == 2 and "error project: expected 1 to 128 characters" in done.stdout


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    with wandb_server() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield running
        wandb.teardown()


def views(server: Server, kind: str) -> list[dict]:
    return [view for view in server.views.values() if view["type"] == kind]


@pytest.mark.slow
def test_publishing_twice_updates(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = swept(tmp_path)
    tracked(tmp_path, sweep)
    server.lag = 1
    assert publish(tmp_path, sweep, choice()) == 0
    assert not server.unknown
    loaded = load_sweep(tmp_path, sweep)
    assert len(server.runs) == 8 and {run["group"] for run in server.runs.values()} == {sweep}
    (job,) = [run for run in server.runs.values() if run["displayName"] == loaded.jobs[1].name]
    config = {k: v["value"] if isinstance(v, dict) else v for k, v in json.loads(job["config"]).items()}
    assert (config["axes_first_stage"], config["axes_sampler_steps"], config["nfe"]) == ("kl", 20, 20)
    assert config["command"] == loaded.command, "what the run had stays"
    assert json.loads(job["summaryMetrics"])["fid_192"] == loaded.jobs[1].scores["fid_192"].value
    stages = [json.loads(run["config"]) for run in server.runs.values() if run["jobType"] == "diffusion"]
    values = sorted(v["value"] if isinstance(v, dict) else v for v in (c["axes_first_stage"] for c in stages))
    assert values == ["kl", "vq"]
    assert all(len(server.streams[id]) for id in server.runs)
    (workspace,), (report,) = views(server, "project-view"), views(server, "runs")
    check_workspace(json.loads(workspace["spec"]))
    check_report(json.loads(report["spec"]))
    assert report["displayName"] == "KL or VQ" and workspace["displayName"] == f"sweep {sweep}"
    sent = specification(tmp_path, sweep)["sent"]
    assert f"?nw={workspace['name'].removeprefix('nw-').removesuffix('-v')}" in sent["workspace"]
    assert (sent["entity"], sent["project"], sent["server"]) == (ENTITY, "proj", server.url)
    printed = capsys.readouterr().out
    assert sent["workspace"] in printed and sent["report"] in printed

    server.calls.clear()
    server.streams.clear()
    verdicts = tmp_path / "sweeps" / sweep / "report" / "verdicts.json"
    verdicts.write_text(json.dumps(VERDICTS).replace('"agree"', '"disagree"'))
    assert publish(tmp_path, sweep, choice()) == 0
    assert "0 runs to sync" in capsys.readouterr().out
    assert not server.streams and not server.of("UpsertBucket"), "what is there is not sent again"
    assert len(server.views) == 2, "no duplicates"
    assert "**disagree**" in json.dumps(json.loads(views(server, "runs")[0]["spec"]))


@pytest.mark.slow
def test_artifacts_have_their_lineage(tmp_path: Path, server: Server) -> None:
    sweep = swept(tmp_path)
    tracking = tracked(tmp_path, sweep)
    assert publish(tmp_path, sweep, choice(BOTH)) == 0
    assert not server.unknown
    loaded, by_name = load_sweep(tmp_path, sweep), {a["name"]: a for a in server.artifacts.values()}
    assert all(artifact["state"] == "COMMITTED" for artifact in by_name.values())
    used = {(v["runName"], v["artifactID"]) for v in server.of("UseArtifact")}
    for stored in loaded.of_kind("diffusion"):
        run = tracking.stage_run_id(stored.key)
        assert by_name[stored.key]["input"]["runName"] == run
        assert (run, by_name[stored.inputs["latents"] + "-manifest"]["id"]) in used
        metadata = json.loads(by_name[stored.key]["input"]["metadata"])
        assert metadata["stage"] == stored.key and metadata["inputs"] == stored.inputs
        assert metadata["sha256"] == {name: file.sha256 for name, file in stored.files.items()}
    job = loaded.jobs[0]
    samples, latents = job.stages["samples"], job.stages["latents"] + "-manifest"
    run = next(run for run in server.runs.values() if run["displayName"] == job.name)["name"]
    assert by_name[samples]["input"]["runName"] == by_name[latents]["input"]["runName"] == run
    assert (run, by_name[job.stages["diffusion"]]["id"]) in used
    assert (run, by_name[job.stages["first_stage"]]["id"]) in used
    assert json.loads(server.runs[run]["summaryMetrics"])["fid_192"] == job.scores["fid_192"].value, "scores stay"
    sent = server.stored(by_name[samples]["id"])
    assert sent["images.npy"] == loaded.objects[samples].file("images.npy").read_bytes()
    assert set(server.stored(by_name[latents]["id"])) == {"manifest.json"}

    count, sequences = len(server.artifacts), len(server.files)
    assert publish(tmp_path, sweep, choice(BOTH)) == 0
    assert (len(server.artifacts), len(server.files)) == (count, sequences), "the same bytes are no new version"


def offline_files(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in (root / "wandb").rglob("*.wandb")}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["closed port", "wrong key", "upload refused", "workspace refused"])
def test_a_server_that_cannot_be_used(
    trouble: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = swept(tmp_path)
    tracked(tmp_path, sweep)
    before = offline_files(tmp_path)
    monkeypatch.setattr(wandb_publish, "INIT_SECONDS", 3.0)
    monkeypatch.setattr(wandb_sync, "RETRIES", dict.fromkeys(wandb_sync.RETRIES, "0"))
    if trouble == "closed port":
        listener = socket.create_server(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.close()
    if trouble == "wrong key":
        monkeypatch.setenv("WANDB_API_KEY", "9" * 40)
    if trouble == "upload refused":
        server.refused["UpsertBucket"] = "the project is read-only"
    if trouble == "workspace refused":
        server.refused["UpsertView2"] = "views are closed"
    with pytest.raises(PublishError, match=r"the W&B server http://127\.0\.0\.1.*Nothing is lost.*the same command"):
        publish(tmp_path, sweep, choice())
    assert offline_files(tmp_path) == before and len(before) == 8
    check_workspace(specification(tmp_path, sweep)["workspace"]["spec"])
    if trouble in ("upload refused", "workspace refused"):
        server.refused.clear()
        assert publish(tmp_path, sweep, choice()) == 0
        assert len(server.runs) == 8 and len(server.views) == 2


@pytest.mark.slow
def test_another_project_gets_the_runs_too(tmp_path: Path, server: Server) -> None:
    sweep = swept(tmp_path)
    tracked(tmp_path, sweep)
    assert publish(tmp_path, sweep, choice()) == 0
    server.runs.clear()
    assert publish(tmp_path, sweep, choice(project="other")) == 0
    assert {run["project"]["name"] for run in server.runs.values()} == {"other"} and len(server.runs) == 8


def test_curves_are_grouped_by_the_axes_of_their_trainings(tmp_path: Path) -> None:
    found = curve_axes(load_sweep(tmp_path, swept(tmp_path)))
    assert found["validation/loss"] == ["first_stage"]
    assert found["train/pixel"] == ["first_stage"]
    assert "codebook/usage" not in found, "of one training alone"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:me/ablatent.git", "https://github.com/me/ablatent"),
        ("https://me:secret@example.org/me/ablatent.git", "https://example.org/me/ablatent"),
        ("ssh://git@example.org:2222/me/ablatent", "https://example.org/me/ablatent"),
        ("https://example.org/group/sub/ablatent/", "https://example.org/group/sub/ablatent"),
        ("/srv/git/ablatent.git", None),
        ("", None),
    ],
)
def test_addresses_of_remotes_have_no_passwords(remote: str, address: str | None) -> None:
    assert web_address(remote) == address


@pytest.mark.parametrize("text", ["", "[]", '{"claims": 3}', '{"claims": {"x": {}}}', '{"claims": [7]}'])
def test_damaged_verdicts_are_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims_in(tmp_path) == []
    (tmp_path / "verdicts.json").write_text(text)
    assert claims_in(tmp_path) == []
    assert "verdicts.json is damaged" in " ".join(capsys.readouterr().out.split())


def test_a_long_title_is_cut(tmp_path: Path) -> None:
    sweep = swept(tmp_path)
    path = tmp_path / "sweeps" / sweep / "plan.json"
    path.write_text(path.read_text().replace("KL or VQ", "KL or VQ " * 40))
    assert publish(tmp_path, sweep, choice(dry=True)) == 0
    assert len(specification(tmp_path, sweep)["report"]["displayName"]) == 128
