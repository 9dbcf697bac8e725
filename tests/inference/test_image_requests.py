"""Asking models that read pictures and maps: which file is which, and known pixels come back as they were."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from omegaconf import OmegaConf
from PIL import Image

from ablatent.cli.raw_overrides import check_verb, quoted, unquoted
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.inference.defaults import DEFAULTS, INPAINT
from ablatent.inference.metadata import Metadata, check_node, request_of
from ablatent.inference.model_reference import Reference
from ablatent.inference.pipeline import Pipeline
from ablatent.inference.request import Request, RequestResolver
from ablatent.inference.sampling import sample
from ablatent.samplers.guidance import NoGuidance
from ablatent.schedules.linear import Linear
from ablatent.stages.generator import Generator
from ablatent.stages.models import dummy_inputs, make_conditioner
from ablatent.store.artifacts import Store
from ablatent.tasks.base import Task
from ablatent.tasks.generate import Guided, Model
from ablatent.tasks.img2img import Img2Img
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.outpaint import Outpaint
from ablatent.tasks.sample import Sample
from commands import ROOT

COMMANDS = [
    line
    for name in ("using", "conditioning")
    for line in re.findall(r"^python run.py (do=sample .*)$", (ROOT / "docs" / f"{name}.md").read_text(), re.M)
]
CONDITIONS = {
    "objects": {"_target_": "ablatent.conditioning.layout.Layout", "width": 8, "depth": 1, "heads": 1, "max_boxes": 2},
    "picture": {"_target_": "ablatent.conditioning.masked_image.MaskedImage"},
    "map": {"_target_": "ablatent.conditioning.semantic.Semantic"},
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A picture of noise, a mask of its left half, maps of two classes and of one, and one with a class too many."""
    rng, halves = np.random.default_rng(0), np.zeros((8, 8), np.uint8)
    halves[:, :4] = 1
    pictures = {"image": rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), "mask": halves * 255, "map": halves}
    pictures |= {"sky": halves * 0, "wrong": halves * 7}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in pictures}


def resolver(*needs: str, task: Task | None = None, **more) -> RequestResolver:
    return RequestResolver(
        task=task or Sample(), needs=frozenset(needs), classes=("dog", "car"), segments=("sky", "sea"), size=8, **more
    )


def test_image_and_soft_mask_are_upright_and_in_the_models_channels(tmp_path) -> None:
    """A photo that was taken upright, in 16-bit grey, and its mask from the same camera."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rows of the file are columns of the picture, from right to left
    picture = np.arange(0, 256, 4, dtype=np.uint16).reshape(8, 8) * 257
    Image.fromarray(picture).save(tmp_path / "image.png", exif=exif)
    share = np.repeat(np.array([0, 0, 0, 0, 0, 102, 255, 255], np.uint8)[:, None], 8, axis=1)
    Image.fromarray(share).save(tmp_path / "mask.png", exif=exif)
    request = Request(image=str(tmp_path / "image.png"), mask=str(tmp_path / "mask.png"), n=1)
    grey, colours = (resolver(task=Inpaint(), channels=channels) for channels in (1, 3))
    expected = np.rot90((picture // 257).astype(np.uint8), -1)
    assert np.array_equal(grey.source(request).pixels[0, ..., 0], expected)
    assert np.array_equal(colours.source(request).pixels[0], np.repeat(expected[..., None], 3, axis=2))
    mask = grey.mask(request)
    assert np.allclose(mask, np.rot90(share, -1) / 255, atol=1e-6) and mask[0, :3].tolist() != mask[0, -3:].tolist()
    assert grey.messages == [f"{request.mask}: 30% of the image is filled"]


def test_a_map_is_the_image_where_no_picture_is_read(files) -> None:
    """By either key, with the same result; beside a picture, each has its own."""
    old, new = (Request(**{key: files["map"]}, n=1) for key in ("image", "map"))
    for request in (old, new):
        source = resolver("segmentation").source(request)
        assert source.pixels is None and source.annotations.segmentation[0, 0].tolist() == [1] * 4 + [0] * 4
    both = Request(image=files["image"], map=files["map"], n=1)
    for needs, task in ((("segmentation", "pixels"), Sample()), (("segmentation",), Img2Img())):
        source = resolver(*needs, task=task).source(both)
        assert np.array_equal(source.pixels[0], np.asarray(Image.open(files["image"])))
        assert source.annotations.segmentation.sum() == 32
    assert set(both.files()) == {"image", "map"}


@pytest.mark.parametrize(
    ("needs", "task", "given", "key"),
    [
        (("segmentation",), Sample(), {}, "map"),
        (("segmentation",), Sample(), {"image": "map", "map": "map"}, "image"),
        (("segmentation",), Inpaint(), {"image": "image"}, "map"),
        (("segmentation", "pixels"), Sample(), {"image": "image"}, "map"),
        (("segmentation", "pixels"), Sample(), {"map": "map"}, "image"),
        (("pixels",), Sample(), {"image": "image", "map": "map"}, "map"),
        (("segmentation",), Sample(), {"image": "wrong"}, "image"),
        (("segmentation",), Sample(), {"map": "wrong"}, "map"),
        (("segmentation",), Sample(), {"map": "image"}, "map"),
    ],
)
def test_answers_name_the_file_that_is_wrong(files, needs, task, given, key) -> None:
    with pytest.raises(ConfigError) as error:
        resolver(*needs, task=task).source(Request(**{k: files[name] for k, name in given.items()}, n=1))
    assert error.value.key == key


def test_no_hole_is_cut_at_random(files) -> None:
    request = Request(image=files["image"], n=1)
    for task in (Sample(), Img2Img()):
        with pytest.raises(ConfigError, match=r"^task: .*Choose task=inpaint mask=FILE"):
            resolver("pixels", task=task, fills=True).source(request)
    for task in (Inpaint(), Outpaint()):
        assert resolver("pixels", task=task, fills=True).source(request).n == 1
    with pytest.raises(ConfigError, match=r"^map: expected an image file"):
        Request(map="no.png")


def test_a_small_picture_is_a_whole_one_to_a_task_that_starts_from_it(files) -> None:
    request = Request(image=files["image"], n=1)
    assert replace(resolver("pixels", low_resolution_size=4), size=16).source(request).low_resolution.shape == (
        1,
        4,
        4,
        3,
    )
    whole = replace(resolver("pixels", task=Inpaint(), low_resolution_size=4), size=16).source(request)
    assert whole.low_resolution is None and whole.pixels.shape == (1, 16, 16, 3)


class Listening(torch.nn.Module):
    """A network whose v is decided by its condition, and that remembers the maps that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial: list[torch.Tensor] = []

    def forward(self, x, t, cond):
        self.spatial.append(cond.spatial)
        return torch.zeros_like(x) + rearrange(cond.tokens[:, 0, 0], "b -> b 1 1 1") + cond.spatial.mean()


@pytest.fixture
def hybrid(tmp_path, monkeypatch) -> tuple[Pipeline, Listening]:
    """A model in pixel space that reads boxes, a picture with a hole, and a map; nothing of it is trained."""
    network, setting = Listening(), dummy_inputs((3, 8, 8), 8, 2, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conditioner = make_conditioner({"parts": CONDITIONS}, replace(setting, encode=lambda x: x)).eval()
    denoiser = Denoiser(network, Linear(1000, 0.0001, 0.02, False), V())
    normalizer, device = LatentNormalizer((0.0,) * 3, (1.0,) * 3), torch.device("cpu")
    model = Model(
        first_stage=IdentityFirstStage(), normalizer=normalizer, denoiser=denoiser, conditioner=conditioner,
        latent_shape=(3, 8, 8), device=device,
    )  # fmt: skip
    source = Source(0, Annotations(classes=("dog", "car")))
    generator = Generator(model, Guided(NoGuidance()), source), ("sky", "sea")
    monkeypatch.setattr(Pipeline, "_generator", lambda self, guidance: generator)
    ddim = {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 2}
    runtime = {**DEFAULTS["runtime"], "device": "cpu"}
    config = {**DEFAULTS, "sampler": ddim, "runtime": runtime}
    return Pipeline(Store(tmp_path / "store"), Reference({}, [], None), config), network


def test_a_hybrid_fills_the_hole_and_leaves_the_rest(hybrid, files) -> None:
    """The known pixels are the picture's, bit for bit; the mask, the map and the boxes are those that were given."""
    finished, network = hybrid
    given = {k: files[k] for k in ("image", "mask", "map")}
    request, picture = (
        Request(prompts=[], **given, boxes=[["dog", 0, 0, 0.5, 1]], n=2),
        np.asarray(Image.open(files["image"])),
    )
    answer = finished.answer(request)
    hole = np.asarray(Image.open(files["mask"])) > 0
    assert all(np.array_equal(image[~hole], picture[~hole]) for image in answer.images)
    assert not np.array_equal(answer.images[0][hole], picture[hole])
    mask = network.spatial[0][:, 3]  # after the three channels of the picture
    assert torch.equal(mask > 0, torch.from_numpy(hole).expand(2, -1, -1))
    expected = ["the model fills holes of images: task=inpaint", f"{files['mask']}: 50% of the image is filled"]
    assert answer.metadata["task"] == INPAINT and answer.messages == expected
    check_node("task", answer.metadata["task"])
    assert request_of(Metadata.from_json({**answer.metadata, "index": None}, "")) == request, (
        "so that it can be repeated"
    )
    again = Pipeline(finished.store, finished.reference, {**finished.config, "task": INPAINT}).answer(request)
    assert np.array_equal(again.images, answer.images) and again.metadata == answer.metadata
    drawn = finished.sample(n=2, **given, boxes=request.boxes)
    assert np.array_equal(np.stack([np.asarray(d) for d in drawn]), answer.images)
    for other in ({"boxes": [["car", 0, 0.5, 1, 1]]}, {"map": files["sky"]}):
        assert not np.array_equal(finished.answer(replace(request, **other)).images, answer.images)


def test_a_hybrid_without_a_mask_says_that_it_draws_one(hybrid, files) -> None:
    finished, _ = hybrid
    request = Request(image=files["image"], map=files["map"], boxes=[["dog", 0, 0, 0.5, 1]], n=1)
    answer = finished.answer(request)
    same = (answer.images[0] == np.asarray(Image.open(files["image"]))).all(axis=2).mean()
    assert 0.3 < same < 1 and "mask=FILE" in answer.messages[0]
    with pytest.raises(ConfigError, match=r"^task: .*got 'Sample'"):
        finished.answer(request, Sample())
    with pytest.raises(ConfigError, match=r"^map: expected a value"):
        finished.answer(replace(request, map=None))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documents_requests_are_understood(command: str, files, monkeypatch, tmp_path) -> None:
    """Each do=sample of the documents, up to the model that it names."""
    monkeypatch.chdir(tmp_path)
    words = [quoted(word) for word in shlex.split(command)]
    check_verb(ROOT, words, False)
    if any(word.startswith("repeat=") for word in words):
        return
    for name in set(re.findall(r"\b(\w+)\.png", command)):
        Path(f"{name}.png").write_bytes(Path(files["image"]).read_bytes())
    config = {"seed": 0, **OmegaConf.load(ROOT / "conf/do/sample.yaml")}
    typed = dict(word.partition("=")[::2] for word in words)
    values = {key: unquoted(value) for key, value in typed.items() if key in config and key != "do"}
    values |= {key: int(values[key]) for key in ("n", "seed", "label") if key in values}
    request = Request.of({**config, **values})
    assert (request.boxes is None) == ("boxes" not in values) and request.map == values.get("map")
    with pytest.raises(ConfigError, match=r"^model: "):
        sample(Store(tmp_path / "store"), {**config, **values, "model": unquoted(typed["model"]), "repeat": None})


def test_the_documents_ask_for_boxes_a_picture_and_a_map() -> None:
    assert len(COMMANDS) >= 5
    used_keys = [set(re.findall(r"(\w+)=", command)) for command in COMMANDS]
    assert any({"boxes", "image", "mask"} <= keys for keys in used_keys) and any("map" in keys for keys in used_keys)
