"""Conditioners from the command line: their options, several at once by Hydra, and that they train."""

import csv
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ablatent.app.check import check_plan
from ablatent.app.cli import plain
from ablatent.app.models import (
    blank_condition,
    conditioner_class,
    make_conditioner,
    make_network,
    needs_of,
    shapes_alone,
)
from ablatent.app.plan import Composed, make_plan
from ablatent.app.preflight import preflight
from ablatent.app.rules import READ_CAPTIONS, captions_stay_true
from ablatent.core.errors import ConfigError
from ablatent.store.identity import stable_name
from commands import ROOT, run

CONF = ROOT / "conf"
COMMON = ["preset=tiny", "runtime=cpu", "tracking=none"]
SCENES = [*COMMON, "data=openmoji_scenes", "data.count=200", "data.limit=48"]


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return plain(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize("file", sorted((CONF / "conditioner").glob("*.yaml")), ids=lambda f: f.stem)
def test_yaml_lists_every_option(file: Path) -> None:
    node = OmegaConf.load(file)
    kind = conditioner_class({"_target_": node["_target_"]})
    options = set(inspect.signature(kind).parameters) - set(kind.filled) - {"parts"}
    options -= {"dropout"} if file.stem == "none" else set()
    assert {str(k) for k in node} - {"_target_", "defaults"} == options
    assert ("captions" in kind.needs) == (stable_name(node["_target_"]) in READ_CAPTIONS)


def test_captions_that_name_sides_are_not_mirrored() -> None:
    cfg = composed(*SCENES, "conditioner=text_minilm", "latents.flip=true")
    with pytest.raises(ConfigError, match=r"latents\.flip: expected false where captions say"):
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
    network, conditioner = make_network(cfg, setting := shapes_alone((4, 8, 8), 32, 24, 25), False)
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
    conditioner = make_conditioner(composed(*SCENES, *chosen)["conditioner"], shapes_alone((4, 8, 8), 32, 24, 25))
    assert (conditioner.context_dim, conditioner.spatial_channels, conditioner.drops) == (32, 5, 3)
    with torch.device("meta"):  # as a plan counts: every part on the device that has no numbers
        counted = make_conditioner(
            composed(*SCENES, *chosen)["conditioner"], setting := shapes_alone((4, 8, 8), 32, 24, 25)
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
    said = plan.jobs[0].refused or ""
    assert not said if taken else "trained size" in said


@pytest.mark.slow
@pytest.mark.parametrize(("conditioner", "part"), [("layout", "boxes"), ("semantic", "segmentation")])
def test_data_that_lacks_the_condition_is_refused(conditioner: str, part: str) -> None:
    plan = make_plan([Composed([], composed(*COMMON, "data=digits", f"conditioner={conditioner}"))])
    check_plan(plan)
    assert part in (plan.jobs[0].refused or "") and "openmoji_scenes" in (plan.jobs[0].refused or "")


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
