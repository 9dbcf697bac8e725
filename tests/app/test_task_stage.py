"""Tasks through the command line, on the store of one small sweep: a figure and numbers, no scores, a report."""

import json

import pytest
from PIL import Image

from commands import ROOT, SMALL, built, run

TASKS = sorted(p.stem for p in (ROOT / "conf" / "task").glob("*.yaml") if p.stem != "sample")
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
