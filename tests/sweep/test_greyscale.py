"""data.channels=1: networks of one channel, planned, trained, scored, sampled, and written for other programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ablatent.evaluation.folders import FolderImages
from ablatent.first_stage.perceptual import in_colours
from ablatent.inference.pipeline import Pipeline
from ablatent.interop import compvis_config, diffusers_config
from ablatent.stages.stored import make_first_stage
from ablatent.tasks.img2img import Img2Img
from commands import SMALL, inline, run
from composing import composed

GREY = "data.channels=1"
STAGES = ("first_stage", "latents", "diffusion", "samples", "scores", "reconstruction", "reference")


def test_the_first_stages_follow_the_data() -> None:
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    for option in ("kl", "vq", "identity"):
        node = composed("preset=tiny", f"first_stage={option}", GREY)["first_stage"]
        model = make_first_stage(node)
        assert model.image_channels == 1 and model.decode(model.moments(images).mean).shape == images.shape
        if "loss" in node:
            assert node["loss"]["discriminator"]["in_ch"] == 1
        assert composed("preset=tiny", f"first_stage={option}")["first_stage"]["image_channels"] == 3
    assert torch.equal(in_colours(images), images.repeat(1, 3, 1, 1))
    with_colours = images.repeat(1, 3, 1, 1)
    assert torch.equal(in_colours(with_colours), with_colours)


def test_files_of_other_programs_say_one_channel() -> None:
    node = composed("preset=tiny", "first_stage.stem=1", GREY)["first_stage"]
    diffusers = diffusers_config.autoencoder_out(node, 8, 1.0)
    assert (diffusers["in_channels"], diffusers["out_channels"]) == (1, 1)
    described = compvis_config.first_stage_config({**node, "mid_attention": True})["params"]["ddconfig"]
    assert (described["in_channels"], described["out_ch"]) == (1, 1)


@pytest.mark.slow
def test_planning(tmp_path: Path) -> None:
    options = ("preset=tiny", "data=digits", "do=plan")
    for more in (
        ("conditioner=class",),
        ("conditioner=low_resolution", "task=super_resolution"),
        ("conditioner=masked_image", "task=inpaint", "first_stage=vq"),
        ("first_stage=identity",),
    ):
        planned = inline(tmp_path, *options, GREY, *more)
        assert planned.returncode == 0, planned.stderr + planned.stdout
    for wrong in (2, 4):
        refused = inline(tmp_path, *options, f"data.channels={wrong}")
        text = refused.stderr + refused.stdout
        assert refused.returncode != 0 and "data.channels: expected 1 or 3" in text
    refused = inline(tmp_path, *options, GREY, "first_stage.image_channels=3")
    text = refused.stderr + refused.stdout
    assert refused.returncode != 0 and "data.channels: expected 3, as the first stage has" in text


@pytest.mark.slow
def test_a_greyscale_model_from_data_to_samples(tmp_path: Path) -> None:
    done = run(tmp_path, *SMALL, GREY, "conditioner=class", "judge=classifier")
    assert done.returncode == 0, done.stdout + done.stderr
    objects = tmp_path / "store" / "objects"
    arrays = {name: np.load(next(objects.glob(f"{name}.npy"))) for name in ("data/*/pixels", "samples/*/images")}
    assert all(array.shape[1:] == (32, 32, 1) for array in arrays.values())
    weights = load_file(next((objects / "first_stage").glob("*/model.safetensors")))
    folded = composed(*SMALL)["first_stage"]["stem"] ** 2
    assert weights["encoder.conv_in.weight"].shape[1] == weights["decoder.conv_out.weight"].shape[0] == folded
    report = next((tmp_path / "store" / "sweeps").glob("*/report/report.html")).read_text()
    assert "class accuracy" in report and "are not shown" not in report

    sweep = next((tmp_path / "store" / "sweeps").iterdir()).name
    drawn = run(tmp_path, "do=sample", f"model={sweep}:0", "label=3", "n=2", "out=drawn", "runtime=cpu")
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    with Image.open(tmp_path / "drawn" / "0001.png") as image:
        assert (image.mode, image.size) == ("L", (32, 32))
    assert len(FolderImages(tmp_path / "drawn")) == 2, "without the grid"
    again = run(tmp_path, "do=sample", "repeat=drawn/0001.png", "out=again", "runtime=cpu")
    assert "the same as in the file, bit for bit" in again.stdout

    pipeline = Pipeline.load(f"{sweep}:0", tmp_path / "store")
    (made,) = pipeline.sample(label=3, image=tmp_path / "drawn" / "0000.png", task=Img2Img(strength=0.2))
    assert made.mode == "L"
