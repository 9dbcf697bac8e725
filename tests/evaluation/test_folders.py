"""Two folders scored by the command, against torch-fidelity's own command on the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.images import save_png
from ablatent.core.tensor_files import read_tensors
from ablatent.data.decode import SUFFIXES
from ablatent.evaluation import catalogue, inception_network
from ablatent.evaluation.__main__ import main
from ablatent.evaluation.features import extract
from ablatent.evaluation.folders import FolderImages
from ablatent.evaluation.inception import convert, resize_like_tensorflow
from ablatent.evaluation.inception_network import AveragedConvolution, Convolution, MaxPool
from ablatent.inference.sampling import texts


def smooth(n: int, seed: int, noise: float) -> np.ndarray:
    """uint8 (n, 32, 32, 3): random low frequencies and some noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (n, 3, 4, 4)))
    upsampled = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    fine = upsampled + noise * rng.standard_normal((n, 3, 32, 32))
    return np.ascontiguousarray(np.moveaxis(fine.clamp(0, 255).numpy().astype(np.uint8), 1, -1))


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:04d}.png")
    return path


@pytest.mark.parametrize("size", [(32, 32), (8, 40), (299, 299), (400, 310)])
def test_resize_is_bit_equal_to_torch_fidelity(size: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    reference = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    assert torch.equal(resize_like_tensorflow(x, 299), reference)


def test_fused_convolutions_and_pools_are_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU convolutions run by an operator of oneDNN's; elsewhere by torch's own."""
    torch.manual_seed(0)
    x = torch.randn(3, 6, 17, 15).contiguous(memory_format=torch.channels_last)
    for part in (Convolution(6, 8, (1, 7), stride=2, padding=(0, 3)), AveragedConvolution(6, 8, 1)):
        norm = {f"a.bn.{name}": torch.rand(8) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")}
        part.fold({"a.conv.weight": torch.randn(part.shape), **norm}, "a")
        with torch.inference_mode():
            fused = part(x)
            with monkeypatch.context() as plain:
                plain.setattr(inception_network, "fusable", lambda: False)
                torch.testing.assert_close(part(x), fused)
        assert 0 < (fused == 0).float().mean() < 1
    averaged = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    plain = torch.nn.functional.conv2d(averaged, part.weight, part.bias).relu()
    torch.testing.assert_close(fused, plain)
    assert torch.equal(MaxPool()(x), torch.nn.functional.max_pool2d(x, 3, 2))


def test_features_do_not_depend_on_the_batch_size() -> None:
    extractor, images = catalogue.extractor("inception_192"), smooth(5, 0, 8)
    features = extract(extractor, images, "cpu", 5)
    assert features.shape == (5, 192)
    np.testing.assert_allclose(extract(extractor, images, "cpu", 2), features, atol=1e-5)
    assert extractor.served is not None


def test_effnet_tells_classes_apart() -> None:
    logits = extract(catalogue.extractor("effnet_lite0"), smooth(3, 0, 8), "cpu", 3)
    assert logits.shape == (3, 1000)
    assert np.abs(logits[0] - logits[1]).max() > 0.1


def test_command_prints_every_number_with_its_protocol(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    real, fake = folder(tmp_path / "real", smooth(8, 0, 8)), folder(tmp_path / "fake", smooth(8, 1, 40))
    out = tmp_path / "scores.json"
    assert main([str(real), str(fake), "--extractor", "inception_192", "--json", str(out), "--device", "cpu"]) == 0
    scores, printed = json.loads(out.read_text()), capfd.readouterr().out
    assert set(scores) == {"fid_192", "kid_192", "precision_192", "recall_192"}
    for text in (*scores, "subset_size 4", "count_real 8", "torch-fidelity", catalogue.STEM_DIGEST, "singular"):
        assert text in printed.replace("\n", "")
    same = tmp_path / "same.json"
    main([str(real), str(real), "--extractor", "inception_192", "--json", str(same), "--device", "cpu"])
    itself = json.loads(same.read_text())
    assert abs(itself["fid_192"]["value"]) < 1e-5
    assert itself["precision_192"]["value"] == itself["recall_192"]["value"] == 1


def test_bad_folders_end_with_one_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    real = folder(tmp_path / "real", smooth(4, 0, 8))
    mixed = folder(tmp_path / "mixed", smooth(4, 0, 8))
    Image.new("RGB", (16, 16)).save(mixed / "zz.png")
    small = folder(tmp_path / "small", smooth(4, 0, 8)[:, :16, :16])
    broken = folder(tmp_path / "broken", smooth(4, 0, 8))
    (broken / "0002.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    cases = [
        ([real, tmp_path / "reall"], "Did you mean 'real'?"),
        ([real, tmp_path / "empty"], "got none"),
        ([real, mixed], "zz.png 16x16"),
        ([real, small], "16x16 px"),
        ([real, broken], "0002.png"),
        ([real, real, "--extractor", "inception_19"], "Did you mean 'inception_192'?"),
        ([real, real, "--metrics", "fidd"], "Did you mean 'fid'?"),
        ([real, real, "--batch-size", "0"], "--batch-size"),
        ([real, real, "--weights", tmp_path / "absent.pth"], "absent.pth"),
        ([real, real, "--json", tmp_path / "no" / "s.json"], "--json"),
    ]
    for arguments, expected in cases:
        assert main([str(a) for a in arguments]) == 2
        error = capfd.readouterr().err
        assert expected in error
        assert "Traceback" not in error


def scores_of(real: Path, fake: Path, *more: str) -> dict[str, float]:
    out = real.parent / "scores.json"
    options = ["--extractor", "inception_192", "--metrics", "fid", "--json", str(out), "--device", "cpu"]
    assert main([str(real), str(fake), *options, *more]) == 0
    return {name: score["value"] for name, score in json.loads(out.read_text()).items()}


@pytest.mark.slow
def test_16_bit_grey_and_alpha_score_as_the_picture_that_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grey = smooth(8, 0, 8).mean(axis=-1).astype(np.uint8)
    shape = smooth(8, 3, 8)[..., 0]
    icons = np.concatenate([smooth(8, 1, 8), shape[..., None]], axis=-1)
    share = shape[..., None] / 255
    white = np.rint(icons[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    eight, sixteen = folder(tmp_path / "8", grey), folder(tmp_path / "16", grey.astype(np.uint16) * 257)
    rgba, laid = folder(tmp_path / "rgba", icons), folder(tmp_path / "white", white)
    assert abs(scores_of(eight, sixteen)["fid_192"]) < 1e-5
    other = folder(tmp_path / "other", smooth(8, 2, 40))
    assert scores_of(other, sixteen) == scores_of(other, eight)
    assert abs(scores_of(laid, rgba)["fid_192"]) < 0.01
    printed = capfd.readouterr().out
    assert f"{rgba}: 8 (0000.png, …) with EXIF orientation, transparency" in printed
    assert "--reader torch_fidelity" in printed
    assert scores_of(laid, rgba, "--reader", "torch_fidelity")["fid_192"] > 0.5
    protocols = [score["protocol"] for score in json.loads((tmp_path / "scores.json").read_text()).values()]
    assert [p["reader"] for p in protocols] == ["torch_fidelity"]


def test_each_reader_reads_as_it_says(tmp_path: Path) -> None:
    exif, rgba = Image.Exif(), np.concatenate([smooth(1, 0, 8), smooth(1, 1, 8)[..., :1]], axis=-1)[0, :20]
    exif[0x0112] = 6
    Image.fromarray(rgba).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        plain, upright = np.asarray(image.convert("RGB")), np.asarray(ImageOps.exif_transpose(image))
    share = upright[..., 3:] / 255
    upright_rgb, plain_rgb = FolderImages(tmp_path), FolderImages(tmp_path, "torch_fidelity")
    assert np.abs(upright_rgb[:1][0] - (upright[..., :3] * share + 255 * (1 - share))).max() <= 1
    assert np.array_equal(plain_rgb[:1][0], plain) and (upright_rgb.size, plain_rgb.size) == ((20, 32), (32, 20))
    with pytest.raises(ConfigError, match="Did you mean 'torch_fidelity'"):
        FolderImages(tmp_path, "torchfidelity")


def test_all_formats_of_training_and_what_is_left_out(tmp_path: Path) -> None:
    image = Image.fromarray(smooth(1, 0, 8)[0])
    for i, suffix in enumerate(SUFFIXES):
        image.save(tmp_path / f"{i:04d}{suffix}")
    for i in range(3):
        save_png(tmp_path / f"1{i}.png", np.asarray(image), texts({"keys": {}}, i, None))
    save_png(tmp_path / "grid.png", np.zeros((70, 70, 3), np.uint8), texts({"keys": {}}, None, None))
    (tmp_path / "._0000.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "more").mkdir()
    images = FolderImages(tmp_path)
    assert len(images) == len(SUFFIXES) + 3 and len(images[:]) == len(images)
    found, used = len(images) + 4, len(images)
    (line,) = images.describe()
    assert line == (
        f"{tmp_path}: {found} found, {used} used; left out: hidden: 1 (._0000.png), grid of do=sample: 1 (grid.png), "
        "subfolders: 1 (more), other formats: 1 (notes.txt)"
    )
    save_png(tmp_path / "grid.png", np.zeros((70, 70, 3), np.uint8))
    with pytest.raises(DataError, match=r"grid\.png 70x70"):
        FolderImages(tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as torch-fidelity reads them; the classifier, which no score here uses, is zero."""
    found = catalogue.inception_weights().find()
    state = convert(read_tensors(found.path), "weights")
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "count"), [("192", 32), ("2048", 24)])
def test_equals_torch_fidelity_on_the_same_weights(tmp_path: Path, reference: Path, layer: str, count: int) -> None:
    from torch_fidelity import calculate_metrics

    real = folder(tmp_path / "real", smooth(count, 0, 8))
    fake = folder(tmp_path / "fake", np.concatenate([smooth(count // 2, 1, 8), smooth(count // 2, 2, 60)]))
    out = tmp_path / "scores.json"
    arguments = ["--extractor", f"inception_{layer}", "--json", str(out), "--device", "cpu"]
    assert main([str(real), str(fake), *arguments]) == 0
    ours = json.loads(out.read_text())
    expected = calculate_metrics(
        input1=str(fake),
        input2=str(real),
        cuda=False,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(reference),
        kid_subset_size=count // 2,
        cache=False,
        verbose=False,
        **{f"feature_layer_{metric}": layer for metric in ("fid", "kid", "prc")},
    )
    suffix = "" if layer == "2048" else f"_{layer}"
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
    for name in ("fid", "kid", "precision", "recall"):
        assert ours[name + suffix]["value"] == pytest.approx(expected[names.get(name, name)], rel=1e-3), name
    assert ours["kid" + suffix]["std"] == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)
    assert 0 < ours["precision" + suffix]["value"] < 1  # a comparison of ones would say little
