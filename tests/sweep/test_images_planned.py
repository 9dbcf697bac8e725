"""What planning says of images: all counted, damaged ones named, enough for every metric; networks without data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablatent.core.progress import console
from ablatent.stages.check_counts import check_reconstruction_count, check_sample_count
from ablatent.stages.kind_base import Fingerprints
from ablatent.store.identity import SweepId
from ablatent.store.records import PlanRecord
from ablatent.sweep.image_counts import image_lines
from ablatent.sweep.plan import Composed, make_plan
from commands import inline, run
from composing import composed

PLAN = ("do=plan", "preset=tiny", "tracking=none", "data=image_folder", "data.cache=null")


def images(root: Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(root / name)


def test_every_job_is_refused_once_with_all_names(tmp_path: Path) -> None:
    images(tmp_path / "photos", [f"{i}.png" for i in range(24)])
    for name in ("b.png", "[red]c.png", "d\n.png"):
        (tmp_path / "photos" / name).write_bytes(b"text")
    done = inline(tmp_path, "-m", *PLAN, "data.root=photos", "seed=0,1,2")
    assert done.returncode == 2 and done.stdout.count("cannot identify image file") == 3, done.stdout
    assert "all jobs: data.on_damaged: expected 27 images" in done.stdout
    assert "[red]c.png (" in done.stdout and r"d\n.png (" in done.stdout and "Traceback" not in done.stderr
    done = inline(tmp_path, *PLAN, "data.root=photos", "data.on_damaged=skip")
    assert done.returncode == 0, done.stdout
    assert "images of image_folder photos: 27 found, 21 for training, 3 for validation" in done.stdout
    assert "  left out: 3 damaged" in done.stdout


def test_a_name_that_is_not_utf8_ends_in_no_traceback(tmp_path: Path) -> None:
    images(tmp_path / "photos", [f"{i}.png" for i in range(24)])
    (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / "b\udcff.png")
    done = inline(tmp_path, *PLAN, "data.root=photos")
    assert done.returncode == 2 and r"b\udcff.png (its name is not UTF-8)" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("count, held_out", [(2, 1), (4, 1), (8, 1), (24, 3)])
def test_metrics_get_the_images_that_they_compare(count: int, held_out: int, tmp_path: Path) -> None:
    images(tmp_path / "photos", [f"{i}.png" for i in range(count)])
    done = inline(tmp_path, *PLAN, "data.root=photos")
    assert f"{count - held_out} for training, {held_out} for validation" in done.stdout
    enough = held_out >= 2
    assert done.returncode == (0 if enough else 2)
    assert ("at least 2 validation images for fid; got '1 validation image'" in done.stdout) is not enough


def test_counts_that_are_too_small_are_refused(tmp_path: Path) -> None:
    images(tmp_path, [f"{i}.png" for i in range(30)])
    overrides = ["preset=tiny", "data=image_folder", f"data.root={tmp_path}", "data.cache=null"]

    def refusal(check, *more: str) -> str:  # type: ignore[no-untyped-def]
        with pytest.raises(Exception) as error:
            check(composed(*overrides, *more))
        return str(error.value)

    assert refusal(check_sample_count, "samples.count=3") == (
        "samples.count: expected an integer of at least 4, which kid, precision_recall must have; got 3."
    )
    assert "evaluation.reference_count: expected an integer of at least 4" in refusal(
        check_sample_count, "evaluation.reference_count=3"
    )
    assert "evaluation.reconstruction_count: expected an integer of at least 2" in refusal(
        check_reconstruction_count, "evaluation.reconstruction_count=1"
    )
    held_out = refusal(check_reconstruction_count, "evaluation.reconstruction_metrics=[fid,kid]")
    assert "at least 4 validation images for kid; got '3 validation images'" in held_out
    assert "Hold more images out, data.validation_fraction=0.15" in held_out
    check_reconstruction_count(
        composed(*overrides, "evaluation.reconstruction_metrics=[fid,kid]", "data.validation_fraction=0.15")
    )
    few = ["data.limit=3", "data.validation_fraction=0.5"]
    assert "Leave them out: ~evaluation.metrics.kid ~evaluation.metrics.precision_recall" in refusal(
        check_sample_count, *few
    )


def test_data_that_cannot_be_used_are_looked_at_once(tmp_path: Path) -> None:
    node = {"_target_": "ablatent.data.image_folder.ImageFolder", "size": 8, "root": str(tmp_path / "photos")}
    fingerprints, messages = Fingerprints(), []
    for _ in range(2):
        with pytest.raises(Exception) as error:
            fingerprints.of(node)
        messages.append(error.value)
        (tmp_path / "photos").mkdir(exist_ok=True)
    assert messages[0] is messages[1]


@pytest.mark.slow
def test_networks_are_shown_while_the_data_is_not_there(tmp_path: Path) -> None:
    missing = "got '???'. Give it on the command line: data.root=FOLDER. CelebA-HQ: from github"
    elsewhere = "got 'nowhere'. The nearest folder that exists is"
    for given, reason in (((), missing), (("data.root=nowhere",), elsewhere)):
        done = inline(tmp_path, "preset=paper/celebahq_ldm4", "do=plan", "tracking=none", *given)
        assert done.returncode == 2 and reason in done.stdout, done.stdout + done.stderr
        assert "CelebAMask-HQ" in done.stdout and "274.06M" in done.stdout and "410,000" in done.stdout
    done = inline(tmp_path, "preset=paper/celebahq_ldm4", "tracking=none")
    assert done.returncode == 2 and "274.06M" not in done.stdout


@pytest.mark.slow
def test_the_preset_for_own_images_can_be_planned(tmp_path: Path) -> None:
    images(tmp_path / "photos", [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(12)])
    done = inline(tmp_path, *PLAN, "preset=images64", "data.root=photos", "conditioner=class")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "classes: 0: cat, 1: dog" in done.stdout
    unet = next(line for line in done.stdout.splitlines() if "UNet" in line)
    assert 50 < float(unet.split("│")[3].strip(" M")) < 110


def test_the_record_of_a_plan_has_the_counts(tmp_path: Path) -> None:
    images(tmp_path, [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(12)])
    overrides = ["preset=tiny", "data=image_folder", f"data.root={tmp_path}", "data.cache=null"]
    record = (
        make_plan([Composed([], composed(*overrides))])
        .record(SweepId("20261124-101500-a1b2"), "now", "command", "run")
        .to_json()
    )
    again = PlanRecord.from_json(json.loads(json.dumps(record)), "plan.json")
    assert again.jobs[0].images["found"] == 24 and again.jobs[0].images["classes"] == ["cat", "dog"]
    old = json.loads(json.dumps(record))
    del old["jobs"][0]["images"]
    assert not PlanRecord.from_json(old, "plan.json").jobs[0].images, "plans of earlier versions are read"


def test_lines_name_each_data_set_once() -> None:
    jobs = [Composed([f"seed={s}"], composed("preset=tiny", "data=digits", f"seed={s}")) for s in (0, 1)]
    lines = list(image_lines(make_plan(jobs)))
    with console.capture() as shown:
        console.print(lines[0], markup=False)
    assert len(lines) == 1 and "beyond data.limit" in shown.get()
    assert "classes: 0: zero, 1: one" in shown.get()


@pytest.mark.slow
def test_a_finished_model_keeps_its_classes_whatever_becomes_of_the_folder(tmp_path: Path) -> None:
    images(tmp_path / "photos", [f"{c}/{i}.png" for c in range(11) for i in range(3)])
    overrides = ["preset=tiny", "data=image_folder", "data.root=photos", "data.cache=null", "conditioner=class"]
    overrides += ["tracking=none", "runtime=cpu", "runtime.threads=1", "perceptual=none", "samples.count=11"]
    overrides += ["training.steps=2", "first_stage.training.steps=2", "training.validate_every=2"]
    overrides += ["training.warmup_steps=0", "task=class", "first_stage.training.warmup_steps=0"]
    done = run(tmp_path, *overrides)
    assert done.returncode == 0 and "2: 2, 3: 3" in done.stdout, done.stdout + done.stderr
    sweep = next((tmp_path / "store" / "sweeps").iterdir()).name
    (tmp_path / "photos" / "2").rename(tmp_path / "elsewhere")
    for given, line in (("label=2", "class 2: 2"), ("class=10", "class 10: 10"), ("label=9", "class 9: 9")):
        done = run(tmp_path, "do=sample", f"model={sweep}", given, "n=1", "runtime=cpu")
        assert done.returncode == 0 and f"  {line}\n" in done.stdout, done.stdout + done.stderr
    (tmp_path / "photos").rename(tmp_path / "gone")
    done = run(tmp_path, "do=sample", f"model={sweep}", "n=11", "runtime=cpu")
    assert "classes 0: 0, 1: 1, 2: 2, 3: 3" in done.stdout, done.stdout + done.stderr
