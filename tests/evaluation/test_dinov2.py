"""DINOv2 and CLIP as extractors, by small networks of random weights in the hub's format."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.hub import HubFolder
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import digest_tensors
from ablatent.evaluation import catalogue
from ablatent.evaluation.dinov2 import DinoV2Extractor
from ablatent.evaluation.features import extract
from ablatent.evaluation.fid import FID
from ablatent.evaluation.kid import KID
from ablatent.evaluation.scores import score_features

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A DINOv2 of two layers, trained (as the published ones) on another side than 224."""
    from transformers import Dinov2Config, Dinov2Model

    path = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    return path


def extractor(folder: Path, dim: int = 16, digest: str | None = None) -> DinoV2Extractor:
    weights = HubFolder(name="DINOv2 small", files=["config.json", "model.safetensors"], path=str(folder))
    digest = digest or digest_tensors(read_tensors(folder / "model.safetensors"))
    return DinoV2Extractor("small", "_small", dim, digest, None, weights)


def test_features_are_those_of_its_own_processor(folder: Path) -> None:
    from transformers import Dinov2Model
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    features = extract(extractor(folder), IMAGES, "cpu", 5)
    model = Dinov2Model.from_pretrained(folder).eval()
    from PIL import Image

    resized = np.stack([np.asarray(Image.fromarray(x).resize((224, 224), Image.Resampling.BICUBIC)) for x in IMAGES])
    x = (resized / 255 - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD)
    with torch.no_grad():
        tokens = model(pixel_values=torch.from_numpy(x).permute(0, 3, 1, 2).float()).last_hidden_state
    np.testing.assert_allclose(features, tokens[:, 0].numpy(), atol=1e-5)


def test_distances_on_it_are_called_fd_and_kd(folder: Path) -> None:
    dino = extractor(folder)
    features = extract(dino, IMAGES, "cpu", 6)
    metrics = {"fid": FID(), "kid": KID()}
    scores = score_features(metrics, dino, lambda _: features[:6], lambda _: features[6:])
    assert set(scores) == {"fd_small", "kd_small"} and scores["fd_small"].label == "FD(DINOv2 small)"
    assert "DINOv2" in scores["fd_small"].remark
    clip = score_features(metrics, catalogue.clip_vit_l14(), lambda _: features[:6], lambda _: features[6:])
    assert set(clip) == {"fd_clip_vit_l14", "kd_clip_vit_l14"}


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="its width, 16"):
        extractor(folder, dim=1024).load()
    with pytest.raises(ConfigError, match="small"):
        extractor(folder, digest="0" * 32).load()
    with pytest.raises(DataError, match="square"):
        extractor(folder)(torch.zeros(1, 3, 20, 30, dtype=torch.uint8))


def test_absent_weights_are_refused_at_planning_with_the_ways_to_them(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"facebook/dinov2-large.*inception_2048"):
        catalogue.extractor("dinov2").check()
