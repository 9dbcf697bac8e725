"""Conditioners from the command line: their options, several at once by Hydra, and that they train."""

import csv
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from ablatent import load
from ablatent.cli.preflight import preflight
from ablatent.core.errors import ConfigError
from ablatent.core.targets import class_of
from ablatent.core.validation import check_value
from ablatent.stages.job_fields import job_fields
from ablatent.stages.models import (
    blank_condition,
    dummy_inputs,
    make_conditioner,
    make_network,
)
from ablatent.stages.options import check_dropout, needs_of
from ablatent.sweep.check import check_plan
from ablatent.sweep.combination_rules import captions_stay_true
from ablatent.sweep.plan import Composed, make_plan
from commands import ROOT, run
from composing import composed

CONF = ROOT / "conf"
COMMON = ["preset=tiny", "runtime=cpu", "tracking=none"]
SCENES = [*COMMON, "data=openmoji_scenes", "data.count=200", "data.limit=48"]


@pytest.mark.parametrize("file", sorted((CONF / "conditioner").glob("*.yaml")), ids=lambda f: f.stem)
def test_yaml_lists_every_option(file: Path) -> None:
    node = OmegaConf.load(file)
    kind = class_of({"_target_": node["_target_"]})
    options = set(inspect.signature(kind).parameters) - set(kind.filled) - {"parts"}
    options -= {"dropout"} if file.stem == "none" else set()
    assert {str(k) for k in node} - {"_target_", "defaults"} == options
    assert "parts" in node or needs_of({"_target_": node["_target_"]}) == set(kind.needs), "read from the source"


def test_captions_that_name_sides_are_not_mirrored() -> None:
    cfg = composed(*SCENES, "conditioner=text_minilm", "latents.flip=true")
    with pytest.raises(ConfigError, match=r"latents\.flip: expected false where captions name"):
        captions_stay_true(cfg)
    captions_stay_true({**cfg, "latents": {**cfg["latents"], "flip": False}})
    captions_stay_true({**cfg, "conditioner": {"_target_": "ablatent.conditioning.layout.Layout"}})


@pytest.mark.slow
def test_hybrid_is_planned_and_gives_what_its_parts_give() -> None:
    cfg = composed(*SCENES, "conditioner=hybrid")
    plan = make_plan([Composed([], cfg)])
    check_plan(plan)
    assert plan.jobs[0].refused is None, plan.jobs[0].refused
    assert needs_of(cfg["conditioner"]) == {"boxes", "pixels"}
    network, conditioner = make_network(cfg, setting := dummy_inputs((4, 8, 8), 32, 24, 25), False)
    cond = blank_condition(conditioner, 2, setting)
    assert cond.tokens is not None and cond.spatial is not None and cond.vector is None
    assert (cond.tokens.shape, cond.spatial.shape) == ((2, 24, 32), (2, 5, 8, 8))
    out = network(torch.zeros(2, 4, 8, 8), torch.zeros(2), conditioner.drop(cond, torch.zeros(2, conditioner.drops)))
    out.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.slow
def test_parts_are_chosen_and_added_on_the_command_line() -> None:
    chosen = [
        "conditioner=hybrid",
        "conditioner@conditioner.parts.picture=low_resolution",
        "+conditioner@conditioner.parts.map=semantic",
        "conditioner.parts.picture.factor=2",
        "conditioner.parts.map.channels=2",
        "conditioner.parts.objects.depth=1",
    ]
    preflight(ROOT, [*SCENES, *chosen], multirun=False)
    conditioner = make_conditioner(composed(*SCENES, *chosen)["conditioner"], dummy_inputs((4, 8, 8), 32, 24, 25))
    assert (conditioner.context_dim, conditioner.spatial_channels, conditioner.drops) == (32, 5, 3)
    with torch.device("meta"):  # as a plan counts: every part on the device that has no numbers
        counted = make_conditioner(
            composed(*SCENES, *chosen)["conditioner"], setting := dummy_inputs((4, 8, 8), 32, 24, 25)
        )
        assert blank_condition(counted, 1, setting).spatial.shape == (1, 5, 8, 8)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="factr"):
        preflight(ROOT, [*SCENES, *chosen, "conditioner.parts.picture.factr=2"], multirun=False)
    with pytest.raises(ConfigError, match="Did you mean 'semantic'"):
        preflight(ROOT, ["conditioner@conditioner.parts.picture=semantics"], multirun=False)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "conditioner", "taken"), [("outpaint", "masked_image", True),
    ("outpaint", "low_resolution", False), ("larger_canvas", "masked_image", False)])  # fmt: skip
def test_a_larger_canvas_takes_the_mask_that_it_brings(task: str, conditioner: str, taken: bool) -> None:
    plan = make_plan([Composed([], composed(*COMMON, "data=digits", f"conditioner={conditioner}", f"task={task}"))])
    check_plan(plan)
    output = plan.jobs[0].refused or ""
    assert not output if taken else "trained size" in output


@pytest.mark.slow
@pytest.mark.parametrize(("conditioner", "part"), [("layout", "boxes"), ("semantic", "segmentation")])
def test_data_that_lacks_the_condition_is_refused(conditioner: str, part: str) -> None:
    plan = make_plan([Composed([], composed(*COMMON, "data=digits", f"conditioner={conditioner}"))])
    check_plan(plan)
    assert part in (plan.jobs[0].refused or "") and "openmoji_scenes" in (plan.jobs[0].refused or "")


def test_keys_and_dropouts_of_parts_are_named_where_they_stand() -> None:
    masked = {"_target_": "ablatent.conditioning.masked_image.MaskedImage", "dropout": 0.0}
    hybrid = {"_target_": "ablatent.conditioning.several.Several", "parts": {"picture": masked}}
    masked |= {"masks": "mixture", "fraction": [0.1, 0.5]}
    field = job_fields()["conditioner"]
    check_value("conditioner", hybrid, field)
    with pytest.raises(ConfigError, match=r"^conditioner\.part: .* Did you mean 'parts'"):
        check_value("conditioner", {**hybrid, "part": {"map": masked}}, field)
    with pytest.raises(ConfigError, match=r"^conditioner\.parts: expected a key of conditioner"):
        check_value("conditioner", {**masked, "parts": {"a": masked}}, field)
    with pytest.raises(ConfigError, match=r"^conditioner\.parts\.picture\.fraction: expected a list of 2 numbers"):
        check_value("conditioner", {**hybrid, "parts": {"picture": {**masked, "fraction": 0.5}}}, field)
    guided: dict[str, Any] = {"conditioner": hybrid, "guidance": {"scale": 2.0}}
    with pytest.raises(ConfigError, match=r"^conditioner\.parts\.picture\.dropout: expected above 0"):
        check_dropout(guided)
    masked["dropout"] = 0.1
    check_dropout(guided)


@pytest.mark.slow
def test_a_value_of_the_wrong_type_is_told_by_its_key(tmp_path: Path) -> None:
    wrong = ["conditioner.fraction=0.5,[0.1,0.5]", "conditioner.dropout=yes,0.1", "guidance.interval=0.2,null"]
    chosen = ["conditioner=masked_image", "guidance=classifier_free", "task=outpaint", "data=digits", "do=plan"]
    done = run(tmp_path, "-m", *COMMON, *chosen, *wrong, "task.sides=left,[left]")
    output = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in output and "16 jobs, 15 refused" in output, output
    for key, got in (("fraction", "0.5"), ("dropout", "'yes'"), ("interval", "0.2"), ("sides", "'left'")):
        assert re.search(rf"\w+\.{key}: expected [^;]+; got {got}\.", output.replace("\n", " ")), output


@pytest.mark.slow
def test_conditions_of_scenes_train_and_sample(tmp_path: Path) -> None:
    names = ["layout", "semantic", "low_resolution", "masked_image", "hybrid"]
    small = ["latents.flip=true", "runtime.threads=1", "perceptual=alex"]
    small += ["first_stage.training.steps=4", "training.steps=6", "samples.count=8", "sampler.steps=2"]
    small += ["evaluation.reference_count=32", "evaluation.reconstruction_count=16"]
    done = run(tmp_path, "-m", f"conditioner={','.join(names)}", *SCENES, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    store = tmp_path / "store" / "objects"
    trained = {}
    for folder in (store / "diffusion").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        trained[manifest["config"]["conditioner"]["_target_"].rpartition(".")[2]] = folder / "curves.csv"
    assert set(trained) == {"Layout", "Semantic", "LowResolution", "MaskedImage", "Several"}
    for curves in trained.values():
        with curves.open() as f:
            losses = [float(row["value"]) for row in csv.DictReader(f) if row["name"] == "validation/loss"]
        assert losses and np.isfinite(losses).all()
    images = [np.load(p) for p in (store / "samples").glob("*/images.npy")]
    assert len(images) == 5 and all(i.shape == (8, 32, 32, 3) for i in images)
    assert len({i.tobytes() for i in images}) == 5
    (sweep,) = (p.name for p in (tmp_path / "store/sweeps").iterdir())
    finished_models_answer(tmp_path, sweep, names)


def finished_models_answer(folder: Path, sweep: str, names: list[str]) -> None:
    """The document's request of a hybrid, from the command line; a map, from Python."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    halves = np.zeros((32, 32), dtype=np.uint8)
    halves[:, 16:] = 1
    for name, pixels in (("scene", picture), ("hole", halves * 255), ("map", halves)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    pattern = r"^python run.py (do=sample .*image=scene.png mask=hole.png boxes=(?!.*map=).*)$"
    (command,) = re.findall(pattern, (ROOT / "docs/conditioning.md").read_text(), re.M)
    words = [w if "model=" not in w else f"model={sweep}:{names.index('hybrid')}" for w in shlex.split(command)]
    done = run(folder, *words, "n=2", "out=answer", "runtime=cpu")
    assert done.returncode == 0 and "task=inpaint" in done.stdout, done.stdout + done.stderr
    one, two = (np.asarray(Image.open(folder / f"answer/000{i}.png")) for i in range(2))
    assert np.array_equal(one[:, :16], picture[:, :16]) and not np.array_equal(one[:, 16:], two[:, 16:])
    model = load(f"{sweep}:{names.index('semantic')}", folder / "store")
    by_map, by_image = (model.sample(seed=1, **{key: folder / "map.png"})[0] for key in ("map", "image"))
    assert np.array_equal(np.asarray(by_map), np.asarray(by_image))
    with pytest.raises(ConfigError, match=r"^map: expected a map of the classes 0 "):
        model.sample(map=folder / "hole.png")
