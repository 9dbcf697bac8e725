"""Tasks through the command line, on the store of one small sweep: a figure and numbers, no scores, a report."""

import json

import pytest
from PIL import Image

from commands import ROOT, SMALL, built, run

OF_STAGES = ("sample", "reconstruct")  # done by the stages samples, scores and reconstruction
TASKS = sorted(p.stem for p in (ROOT / "conf" / "task").glob("*.yaml") if p.stem not in OF_STAGES)
KNOBS = {"consistency": ["task.steps=[2,5,20]", "task.count=4"], "interpolate": ["task.pairs=2", "task.points=3"]}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_task_ends_in_a_figure(swept, task):
    folder, _ = swept
    knobs = KNOBS.get(task, ["task.count=2", *(["task.points=3"] if task == "trajectory" else [])])
    done = run(folder, "first_stage=kl", f"task={task}", *SMALL, *knobs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout) == ["task"], "the model is the sweep's"
    newest = max((folder / "store/objects/task").iterdir(), key=lambda p: p.stat().st_mtime)
    with Image.open(newest / "figure.png") as figure:
        assert min(figure.size) > 60
    metrics = json.loads((newest / "scores.json").read_text())["metrics"]
    assert metrics and all(m["value"] >= 0 and m["protocol"]["extractor"] for m in metrics.values())
    assert next(iter(metrics)) in done.stdout
    sweep = sorted((folder / "store/sweeps").glob("*/report/report.html"))[-1]
    assert 'id="tasks"' in sweep.read_text()
    assert (newest / "animation.gif").exists() == (task == "trajectory")


@pytest.mark.slow
def test_a_first_stage_alone(swept):
    """The sweep's first stages and their scores are found; no diffusion model is asked for."""
    folder, _ = swept
    done = run(folder, "-m", "first_stage=kl,vq", "task=reconstruct", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout) == []
    plan = json.loads((sorted((folder / "store/sweeps").iterdir())[-1] / "plan.json").read_text())
    assert {s["kind"] for s in plan["stages"].values()} == {"first_stage", "reference", "reconstruction"}
    for job, has_codes in zip(plan["jobs"], (False, True), strict=True):
        scores = folder / "store/objects/reconstruction" / job["stages"]["reconstruction"] / "scores.json"
        metrics = json.loads(scores.read_text())["metrics"]
        assert {"psnr", "ssim"} <= set(metrics)
        assert ("codebook_usage" in metrics) == has_codes
    assert 0 < metrics["codebook_usage"]["value"] <= 1 <= metrics["codebook_perplexity"]["value"]
    report = sorted((folder / "store/sweeps").glob("*/report/report.md"))[-1].read_text()
    assert "PSNR" in report and "codes in use" in report
