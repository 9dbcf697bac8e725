"""do=status: what is unfinished, what nothing goes on from any more, which sweeps have no report."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image
from report_store import build

from ablatent.core.errors import DataError
from ablatent.core.files import write_json
from ablatent.data.image_folder import ImageFolder
from ablatent.stages.latents.kind import LatentsKind
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import PLAN, sweep_folder, sweep_ids
from ablatent.store.records import PlannedJob, PlannedStage, PlanRecord
from ablatent.sweep.status import print_status
from commands import inline

SWEEP = SweepId("20261124-101500-a1b2")


@pytest.fixture
def failed(tmp_path):
    """(store, node of the data) of a sweep whose images could not be prepared, and a latents stage that failed too."""
    (tmp_path / "photos").mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    node = {
        **{"_target_": "ablatent.data.image_folder.ImageFolder", "size": 8, "root": str(tmp_path / "photos")},
        "cache": None,
    }
    data = ImageFolder(**{k: v for k, v in node.items() if k != "_target_"}).fingerprint()
    stage = LatentsKind().stage({}, {}, {"images": data.images}, node)
    store = Store(tmp_path / "store")

    def fail(work):
        raise DataError("photos/3.png: cannot be read\nat all")

    for key in (stage.key, Key(f"data-{data.images}")):
        with pytest.raises(DataError):
            store.get_or_build(key, fail)
    job = PlannedJob(index=0, name="", overrides=[], axes={}, config={}, stages={"latents": stage.key}, refused=None)
    plan = PlanRecord(
        id=SWEEP,
        created="now",
        command="run.py",
        verb="run",
        axes={},
        jobs=[job],
        stages={stage.key: PlannedStage(**stage.spec())},
    )
    (sweep_folder(store.root, SWEEP) / "jobs").mkdir(parents=True)
    write_json(sweep_folder(store.root, SWEEP) / PLAN, plan.to_json())
    return store, stage


def shown(store, capsys):
    print_status(store, None)
    return capsys.readouterr().out


def test_failed_builds_of_data_that_were_mended_are_told_apart(failed, tmp_path, capsys):
    store, stage = failed
    before = shown(store, capsys)
    assert f"{stage.key}: failed (photos/3.png: cannot be read)" in before.replace("\n", "") and "rm -r" not in before
    (tmp_path / "photos" / "3.png").unlink()
    after = shown(store, capsys)
    assert "builds of data that are not there as they were: 2" in after and f"{stage.key}: failed" not in after
    (line,) = [line for line in after.splitlines() if "rm -r" in line]
    assert set(shlex.split(line)[2:]) == {str(path) for path in (store.root / "work").iterdir()}
    (store.work_folder(stage.key) / "last.ckpt").write_text("days of work")
    assert f"{stage.key}: failed (photos/3.png: cannot be read), has a checkpoint, of data that are not" in shown(
        store, capsys
    ).replace("\n", "")


@pytest.mark.parametrize("target", ["os.system", "ablatent.data.base.Path", "ablatent.data.image_folder.os.system"])
def test_a_plan_of_somebody_else_makes_status_run_nothing(failed, target, capsys):
    store, stage = failed
    path = sweep_folder(store.root, SWEEP) / PLAN
    plan = json.loads(path.read_text())
    plan["stages"][stage.key]["data"] = {"_target_": target, "command": f"touch {store.root}/owned", "args": []}
    path.write_text(json.dumps(plan))
    assert f"{stage.key}: failed" in shown(store, capsys) and not (store.root / "owned").exists()


def test_a_sweep_without_a_report_says_which_command_writes_it(failed, tmp_path, capsys):
    store, _ = failed
    (line,) = [line for line in shown(store, capsys).splitlines() if "no report yet" in line]
    words = shlex.split(line.partition(": ")[2].partition("python run.py ")[2])
    assert words == ["do=report", f"sweep={SWEEP}", f"store.path={store.root}"]
    assert inline(tmp_path, *words).returncode == 0
    assert "no report yet" not in shown(store, capsys) and sweep_ids(store.root) == [SWEEP]


def test_a_sweep_without_its_last_job_says_how_it_goes_on(tmp_path, capsys):
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"]})
    (tmp_path / "FORMAT").write_text("2\n")
    (tmp_path / "sweeps" / sweep / "jobs" / "001.json").unlink()
    (tmp_path / "work" / f"samples-{'0' * 32}" / "blocks").mkdir(parents=True)
    print_status(Store(tmp_path), None)
    out = capsys.readouterr().out
    assert "1 of 2 jobs finished" in out and f"do=report sweep={sweep}" in out
    assert f"do=resume sweep={sweep} goes on" in out
    assert f"samples-{'0' * 32}: unfinished, has finished blocks" in out
