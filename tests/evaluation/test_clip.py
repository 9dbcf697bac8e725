"""CLIP scores, by a small CLIP of random weights in the hub's format, against torchmetrics; the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.hub import HubFolder
from ablatent.core.tensor_files import read_tensors
from ablatent.core.weights import digest_tensors
from ablatent.evaluation.clip import ClipExtractor, ClipScore
from ablatent.evaluation.features import extract
from ablatent.evaluation.fid import FID
from ablatent.evaluation.scores import score_features

CAPTIONS = ["a red apple", "two dogs, left of a car", "a red apple", "x" * 200, "größer, 猫!", "a tree"]
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A CLIP of two layers with 32 px pictures, and a byte-pair tokenizer without merges."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    path = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[])
    tokenizer.save_pretrained(path)
    both = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    config = CLIPConfig(
        text_config={**both, "vocab_size": len(tokens), **ends},
        vision_config={**both, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def extractor(folder: Path, digest: str | None = None, dim: int = 12) -> ClipExtractor:
    files = ["config.json", "model.safetensors", "tokenizer.json"]
    digest = digest or digest_tensors(read_tensors(folder / "model.safetensors"))
    return ClipExtractor("small", "_small", dim, digest, None, HubFolder(name="small", files=files, path=str(folder)))


def test_equal_to_torchmetrics(folder: Path) -> None:
    from torchmetrics.multimodal import CLIPScore
    from transformers import CLIPModel, CLIPProcessor

    clip = extractor(folder)
    features, texts = extract(clip, IMAGES, "cpu", 4), clip.texts(CAPTIONS)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.array_equal(texts[0], texts[2]) and not np.allclose(texts[0], texts[1])
    ours = 100 * (features * texts).sum(axis=1)
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    for part in ("get_image_features", "get_text_features"):  # torchmetrics 1.9 wants tensors, as before transformers 5
        whole = getattr(model, part)
        setattr(model, part, lambda *a, whole=whole, **k: getattr(whole(*a, **k), "pooler_output", None))
    for image, caption, score in zip(IMAGES, CAPTIONS, ours, strict=True):
        if len(caption) > 77:  # torchmetrics cuts the end token too, from which CLIP reads a caption
            continue
        reference = CLIPScore(model_name_or_path=lambda: (model, processor))
        reference.update(torch.from_numpy(image).permute(2, 0, 1), caption)
        assert float(reference.score) == pytest.approx(score, abs=0.02)  # their resize may be torchvision's


def test_the_score_is_a_mean_of_pairs_beside_chance(folder: Path) -> None:
    rng = np.random.default_rng(1)
    texts = rng.standard_normal((50, 12)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    score = ClipScore("clip_score_small", extractor(folder))
    found = score(texts, texts)
    assert found["clip_score_small"].value == pytest.approx(100, abs=1e-4) and found["clip_score_small"].std < 1e-3
    assert 5 < found["clip_score_small_chance"].value < 25, "the mean of max(cos, 0) of random directions"
    assert score(texts, -texts)["clip_score_small"].value == 0
    with pytest.raises(DataError, match="a caption for each"):
        score(texts, texts[1:])


def test_metrics_of_captions_want_some(folder: Path) -> None:
    metrics, other = {"clip": ClipScore("clip_score_small", extractor(folder))}, extractor(folder)
    with pytest.raises(DataError, match="ClipScore: expected images with captions"):
        score_features(metrics, other, lambda used: IMAGES, lambda used: IMAGES)
    assert FID().against == "real"
    with pytest.raises(ConfigError, match="digest of small"):
        ClipExtractor("small", "", 12, None, None, HubFolder(name="small", files=["config.json"]))
    with pytest.raises(ConfigError, match="expected its width, 12"):
        extractor(folder, dim=16).load()
    with pytest.raises(ConfigError, match="small"):
        extractor(folder, digest="0" * 32).load()


def test_folders_with_captions_are_scored(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from ablatent.evaluation import __main__ as command
    from ablatent.evaluation import catalogue

    monkeypatch.setitem(catalogue.METRICS, "clip_score", lambda path: ClipScore("clip_score_small", extractor(folder)))
    (tmp_path / "fake").mkdir()
    for i, (image, caption) in enumerate(zip(IMAGES, CAPTIONS, strict=True)):
        Image.fromarray(image).save(tmp_path / f"fake/{i}.png")
        (tmp_path / f"fake/{i}.txt").write_text(caption)
    words = [str(tmp_path / "fake"), str(tmp_path / "fake"), "--extractor=inception_192", "--metrics=clip_score"]
    assert command.main(words) == 2 and "--captions" in capsys.readouterr().err
    assert command.main([*words, "--captions=txt", f"--json={tmp_path / 'scores.json'}"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores) == {"clip_score_small", "clip_score_small_chance"}
    assert scores["clip_score_small"]["protocol"]["extractor"] == "small"
