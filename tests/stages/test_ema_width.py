"""samples.ema_width and guidance.model from the command line to the samples: what is built, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.kept_weights import WeightsChoice, load_weights
from ablatent.stages.samples.kind import SamplesKind
from ablatent.stages.task.kind import TaskKind
from ablatent.sweep.plan import Composed, Job, make_plan
from commands import SMALL, built, inline, run
from composing import composed

KEPT = "training.ema.power_widths=[0.05,0.1]"


def job(*overrides: str) -> Job:
    """The planned job of some overrides. Hydra takes a while for each; values are put in by hand."""
    config = composed("preset=tiny", "data=digits", *(o for o in overrides if o == "guidance=auto"))
    for override in overrides:
        name, value = override.split("=", 1)
        *path, last = name.split(".")
        node = config
        for part in path:
            node = node[part]
        if path:
            assert last in node, override
            node[last] = yaml.safe_load(value)
    return make_plan([Composed(list(overrides), config)]).jobs[0]


def refused(*overrides: str) -> str | None:
    return job(*overrides).refused


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], ["samples.ema_width: expected null", "training.ema.power_widths=[0.05,0.1]"]),
        ([KEPT, "samples.ema_width=0.3"], ["samples.ema_width", "above 0 and below 0.2886"]),
        ([KEPT, "samples.ema_width=0.005"], ["samples.ema_width: expected a width from 0.02 to 0.25"]),
        ([KEPT, "samples.weights=raw"], ["samples.weights: expected ema with samples.ema_width"]),
        ([KEPT, "training.ema.power_snapshots=2"], ["samples.ema_width: expected a width from"]),
        (["training.ema.power_widths=[0.1,0.5]"], ["training.ema.power_widths", "above 0 and below 0.2886"]),
    ],
)
def test_a_width_that_cannot_be_made_is_refused(overrides: list[str], words: list[str]) -> None:
    message = refused("samples.ema_width=0.03", *overrides)
    assert message is not None and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.ema.power_snapshots=8"], ["training.ema.power_snapshots", "training.ema.power_widths=[0.05,0.1]"]),
        (["guidance=auto", "guidance.snapshot=last", "guidance.ema_width=0.1"], ["guidance.ema_width: expected null"]),
        ([KEPT, "guidance=auto", "guidance.snapshot=last"], ["guidance.snapshot: expected an earlier snapshot"]),
    ],
)
def test_what_nothing_reads_and_a_guide_that_is_the_model_are_refused(overrides: list[str], words: list[str]) -> None:
    message = refused(*overrides)
    assert message is not None and all(word in message for word in words), message


def test_what_is_accepted() -> None:
    assert refused(KEPT, "samples.ema_width=0.03", "training.snapshots=[18]", "samples.snapshot=18") is None
    assert refused(KEPT, "guidance=auto", "guidance.snapshot=last", "guidance.ema_width=0.15") is None


def keys(*overrides: str) -> dict[str, str]:
    planned = job(*overrides)
    assert planned.refused is None
    return {role: stage.key for role, stage in planned.stages.items()}


def test_what_a_width_changes() -> None:
    plain, kept, narrow, wide = keys(), keys(KEPT), *(keys(KEPT, f"samples.ema_width={w}") for w in (0.05, 0.1))
    assert plain["diffusion"] != kept["diffusion"] and kept["diffusion"] == narrow["diffusion"] == wide["diffusion"]
    assert len({found["samples"] for found in (kept, narrow, wide)}) == 3


def test_where_the_options_do_nothing_they_stand_in_no_key() -> None:
    """A store of before has the keys of today."""
    config = composed("preset=tiny", "data=digits")
    training = config["training"]
    before = {**training, "ema": {k: v for k, v in training["ema"].items() if not k.startswith("power")}}
    kind = DiffusionKind()
    assert kind.stage({"training": training}).key == kind.stage({"training": before}).key
    changed = {**training, "ema": {**training["ema"], "power_widths": [0.1]}}
    assert kind.stage({"training": training}).key != kind.stage({"training": changed}).key
    for drawn in (SamplesKind(), TaskKind()):
        assert drawn.stage({"ema_width": None}).key == drawn.stage({}).key != drawn.stage({"ema_width": 0.1}).key


def objects(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "store" / "objects" / kind).glob("*"))


@pytest.fixture(scope="module")
def swept_widths(tmp_path_factory, first_stages):
    """(folder, output) of two widths of one training."""
    folder = tmp_path_factory.mktemp("widths")
    first_stages(folder)
    done = run(folder, "-m", "first_stage=kl", *SMALL, KEPT, "samples.ema_width=0.05,0.03")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_sweep_over_widths_trains_one_model(swept_widths) -> None:
    folder, output = swept_widths
    kinds = built(output)
    assert kinds.count("diffusion") == 1 and kinds.count("samples") == 2
    (trained,) = objects(folder, "diffusion")
    assert len(list(trained.glob("power/*"))) == 32
    made = {}
    for path in objects(folder, "samples"):
        config = json.loads((path / "manifest.json").read_text())["config"]
        made[config["ema_width"]] = (np.load(path / "images.npy"), json.loads((path / "summary.json").read_text()))
    assert made[0.05][1]["ema_residual"] < 1e-6 < made[0.03][1]["ema_residual"] < 0.1
    assert not np.array_equal(made[0.05][0], made[0.03][0])
    state = load_weights(trained, WeightsChoice("ema", "last", 0.05))
    tracked = load_file(trained / "power" / "0.05-0000024.safetensors")
    assert tracked.keys() <= state.keys() == load_file(trained / "raw-0000024.safetensors").keys()
    for name, value in tracked.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_smaller_model_of_the_store_guides(swept_widths) -> None:
    folder, _ = swept_widths
    (model,) = objects(folder, "diffusion")
    same = ["first_stage=kl", *SMALL]
    done = run(folder, "-m", *same, "network.ch=16", "parameterization=eps", f"{KEPT},[]")
    assert done.returncode == 0, done.stdout + done.stderr
    small, other = (path for path in objects(folder, "diffusion") if path != model)
    for name in ("raw-0000024.safetensors", "ema-0000024.safetensors"):  # what is kept beside them changes nothing
        assert (small / name).read_bytes() == (other / name).read_bytes()
    guided = [*same, KEPT, "guidance=auto", "guidance.snapshot=last", f"guidance.model={small.name[:-8]}"]
    done = run(folder, *guided)
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout) == ["samples", "scores"]
    manifests = [json.loads((path / "manifest.json").read_text()) for path in objects(folder, "samples")]
    assert small.name in [m["config"]["guidance"].get("model") for m in manifests]
    for override, words in (
        ("schedule=linear", "a model with the schedule Linear("),
        ("latents.normalizer=none", "a model of the same latents"),
        ("guidance.weights=ema_0.5", "guidance.weights: expected one of ema, raw"),
        (f"guidance.model={model.name}", "another model than the one that is sampled"),
        ("guidance.ema_width=0.1", "guidance.ema_width: expected null"),
    ):
        planned = inline(folder, *guided, override, "do=plan")
        assert planned.returncode == 2 and words in " ".join(planned.stdout.split()), planned.stdout
    drawn = run(folder, "do=sample", f"model={model.name}", "n=2", "out=drawn", *guided[-3:], "samples.ema_width=0.15")
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    repeated = run(folder, "do=sample", "repeat=drawn/0001.png", "out=again")
    assert "bit for bit" in repeated.stdout, repeated.stdout + repeated.stderr
