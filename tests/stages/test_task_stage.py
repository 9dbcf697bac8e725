"""The tasks of docs/tasks.md: each command ends in a figure and numbers, on one store; a finished model answers."""

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ablatent.core.errors import ConfigError
from commands import ROOT, SMALL, built, python, run

ROWS = re.findall(r"^\| `(\w+)` \|[^|]*\| `python run.py ([^`]*)` \|$", (ROOT / "docs" / "tasks.md").read_text(), re.M)
# Less of everything than these commands make.
KNOBS = {
    "consistency": ["task.count=2"],
    "interpolate": ["task.pairs=1", "task.points=3"],
    "class": ["task.count=2", "task.samples_per_image=2"],
    "text2img": ["task.count=2", "task.samples_per_image=1"],
    "layout": ["task.count=2", "task.samples_per_image=1"],
    "semantic": ["task.count=2", "task.samples_per_image=1"],
    "super_resolution": ["task.count=50", "task.shown=3"],  # enough to be scored as a set
}
NONE = ("sample", "unconditional", "reconstruct")
WEAK = {"_target_": "ablatent.samplers.guidance_auto.AutoGuidance", "scale": 2.0, "weights": "ema", "snapshot": "first"}
# All in one process: most of a command's time would be imports.
EACH = """
import json, sys
from pathlib import Path
from ablatent.cli.main import main
root, commands = sys.argv[1:]
for words in json.loads(commands):
    print("\\n=====", flush=True)
    sys.argv = ["run.py", *words]
    try:
        main(Path(root))
    except SystemExit as e:
        print("exit", e.code or 0, flush=True)
"""


def words_of(task: str, command: str) -> list[str]:
    knobs = KNOBS.get(task, [] if task in NONE else ["task.count=2"])
    small = [w for w in SMALL if not w.startswith(("preset=", "data="))]
    return [*shlex.split(command), *small, "training.steps=4", "first_stage.training.steps=4", *knobs]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(folder, the output of each command of the table)."""
    folder = tmp_path_factory.mktemp("tasks")
    commands = json.dumps([words_of(*row) for row in ROWS])
    ran = python(folder, "-c", EACH, str(ROOT), commands)
    outputs = ran.stdout.split("\n=====\n")[1:]
    assert len(outputs) == len(ROWS), ran.stdout + ran.stderr
    return folder, outputs


def test_every_task_has_a_row():
    known = {p.stem for p in (ROOT / "conf" / "task").glob("*.yaml")}
    assert known == {task for task, _ in ROWS}
    assert all(task in NONE or f"task={task}" in command for task, command in ROWS)


def restored(folder, plan):
    """The scores of a job's restored pictures."""
    made = folder / "store/objects/restoration" / plan["jobs"][0]["stages"]["restoration"]
    return json.loads((made / "scores.json").read_text())["metrics"]


def task_mask(command):
    return re.search(r"task.mask=(\w+)|$", command)[1] or "strokes"


@pytest.mark.slow
@pytest.mark.parametrize("row", range(len(ROWS)), ids=[f"{i}-{task}" for i, (task, _) in enumerate(ROWS)])
def test_a_task_ends_in_a_figure(done, row):
    folder, outputs = done
    task, command = ROWS[row]
    assert outputs[row].rstrip().endswith("exit 0"), outputs[row]
    sweep = re.search(r"report: (\S+)/report/report.html", outputs[row])[1]
    if task in NONE:
        return
    if row and "task=" in command and "conditioner=class" in command:
        assert set(built(outputs[row])) <= {"task", "restoration"}, "the model is that of the first row"
    plan = json.loads((folder / sweep / "plan.json").read_text())
    made = folder / "store/objects/task" / plan["jobs"][0]["stages"]["task"]
    with Image.open(made / "figure.png") as figure:
        assert min(figure.size) > 60
    metrics = json.loads((made / "scores.json").read_text())["metrics"]
    assert metrics and all(m["protocol"]["extractor"] for m in metrics.values())
    if task in ("inpaint", "super_resolution"):
        metrics |= restored(folder, plan)
    assert any(score["label"] in outputs[row] for score in metrics.values())
    assert 'id="tasks"' in (folder / sweep / "report/report.html").read_text()
    assert (made / "animation.gif").exists() == (task == "trajectory")
    if task in ("inpaint", "outpaint"):
        assert metrics["error_outside"]["value"] <= 1
    if task == "inpaint":
        assert {"psnr_hole", "psnr_hole_of_mean_colour", "perceptual", "perceptual_of_mean_colour"} <= set(metrics)
        assert not any(name.startswith("fid") for name in metrics), "two pictures are no set"
        assert metrics["psnr"]["protocol"]["degradation"] == {"mask": task_mask(command)}
    if task == "super_resolution":
        assert {"psnr", "psnr_of_bicubic", "fid_192", "fid_192_of_bicubic", "kid_192"} <= set(metrics)
        assert metrics["fid_192"]["protocol"]["count_real"] == 50 == len(np.load(made / "restored.npy"))


@pytest.mark.slow
def test_a_finished_model_answers(done, monkeypatch):
    """By do=sample and from Python: the same pictures, which can be made again."""
    folder, _ = done
    first = sorted((folder / "store/sweeps").iterdir())[0].name
    sampled = run(folder, "do=sample", f"model={first}:0", "class=thre", "runtime=cpu")
    assert sampled.returncode == 2 and "Did you mean 'three'" in sampled.stdout
    knobs = ["runtime=cpu", "runtime.threads=1", "sampler.steps=3"]
    sampled = run(folder, "do=sample", f"model={first}:0", "class=three", "n=3", "seed=5", "out=a", *knobs)
    assert sampled.returncode == 0, sampled.stdout + sampled.stderr
    assert sorted(p.name for p in (folder / "a").iterdir()) == ["0000.png", "0001.png", "0002.png", "grid.png"]
    again = run(folder, "do=sample", "repeat=a/0001.png", "out=b", "runtime=cpu")
    assert again.returncode == 0 and "bit for bit" in again.stdout, again.stdout + again.stderr
    assert (folder / "a/0001.png").read_bytes() == (folder / "b/0001.png").read_bytes()

    from ablatent import load
    from ablatent.tasks.inpaint import Inpaint

    monkeypatch.chdir(folder)
    model = load(f"{first}:0")
    drawn = model.sample(label="three", n=3, seed=5, steps=3)
    files = [np.asarray(Image.open(folder / f"a/000{i}.png")).astype(int) for i in range(3)]
    assert all(np.abs(np.asarray(d) - f).max() <= 1 for d, f in zip(drawn, files, strict=True))
    with pytest.raises(ConfigError, match="label: expected the number of a class, or its name; got True"):
        model.sample(label=True)
    with pytest.raises(ConfigError, match=r"label: expected the name of one class .*Did you mean 'three'"):
        model.sample(label="thre")
    weak = replace(model, config={**model.config, "guidance": WEAK})
    with pytest.raises(ConfigError, match=r"guidance\.snapshot: expected an earlier"):
        weak.sample(label=3)
    filled = model.sample(label=3, n=2, image="a/0000.png", task=Inpaint(mask="halves"), steps=3)
    same = (np.asarray(filled[0]) == files[0]).all(axis=2).mean()
    assert 0.5 <= same < 1
