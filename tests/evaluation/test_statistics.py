"""Files of statistics of pytorch-fid and guided-diffusion: read, written, and scored by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_folders import folder, smooth

from ablatent.core.errors import DataError
from ablatent.evaluation import catalogue
from ablatent.evaluation.__main__ import main
from ablatent.evaluation.features import extract
from ablatent.evaluation.statistics import BatchFile, Statistics, has_images

QUICK = ["--extractor", "inception_192", "--device", "cpu"]


def features(n: int = 40, d: int = 6) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


def scores(out: Path, *words: str | Path) -> dict[str, dict]:
    assert main([*map(str, words), *QUICK, "--json", str(out)]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("n", [40, 5])  # more images than dimensions, and fewer
def test_moments_are_those_that_pytorch_fid_writes(n: int, tmp_path: Path) -> None:
    x = features(n)
    Statistics.of(x).write(tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as file:
        assert set(file.files) == {"mu", "sigma"}
        np.testing.assert_allclose(file["mu"], x.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(file["sigma"], np.cov(x, rowvar=False), atol=1e-6)
    np.savez(tmp_path / "other.npz", mu=x.mean(axis=0), sigma=np.cov(x, rowvar=False))
    moments = Statistics.read(tmp_path / "other.npz").moments_of("mu")
    assert abs(moments.distance(Statistics.of(x).moments_of("mu"))) < 1e-5


def test_a_file_of_guided_diffusion_round_trips(tmp_path: Path) -> None:
    x, spatial = features(), features(40, 9) + 2
    Statistics.of(x, spatial).write(tmp_path / "a.npz")
    again = Statistics.read(tmp_path / "a.npz")
    again.write(tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        assert one.files == other.files == ["mu", "sigma", "mu_s", "sigma_s"]
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    np.testing.assert_allclose(again.moments_of("mu_s").covariance, np.cov(spatial, rowvar=False), atol=1e-6)


def test_scores_by_statistics_are_those_by_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    real, fake = folder(tmp_path / "real", smooth(10, 0, 8)), folder(tmp_path / "fake", smooth(10, 1, 40))
    saved = tmp_path / "real.npz"
    assert main([str(real), "--save-statistics", str(saved), *QUICK]) == 0
    plain, by_moments = scores(tmp_path / "a.json", real, fake), scores(tmp_path / "b.json", saved, fake)
    assert set(by_moments) == {"fid_192"}
    printed = capfd.readouterr().out
    assert "left out: kid, precision_recall" in printed and "moments of 192 features" in printed
    for part in (0, 1):
        assert by_moments["fid_192"]["interval"][part] == pytest.approx(plain["fid_192"]["interval"][part], rel=1e-4)
    assert by_moments["fid_192"]["value"] == pytest.approx(plain["fid_192"]["value"], rel=1e-5)
    assert "count_real" not in by_moments["fid_192"]["protocol"]
    assert by_moments["fid_192"]["protocol"] != plain["fid_192"]["protocol"]
    main([str(fake), "--save-statistics", str(tmp_path / "fake.npz"), *QUICK])
    both = scores(tmp_path / "c.json", saved, tmp_path / "fake.npz")["fid_192"]
    assert both["value"] == pytest.approx(plain["fid_192"]["value"], rel=1e-5) and both["interval"] is None


def test_a_batch_of_images_scores_as_the_folder_of_them(tmp_path: Path) -> None:
    images = smooth(8, 1, 40)
    real, fake = folder(tmp_path / "real", smooth(8, 0, 8)), folder(tmp_path / "fake", images)
    np.savez(tmp_path / "batch.npz", images)
    assert has_images(tmp_path / "batch.npz") and np.array_equal(BatchFile(tmp_path / "batch.npz")[:], images)
    expected = scores(tmp_path / "a.json", real, fake)
    assert scores(tmp_path / "b.json", real, tmp_path / "batch.npz") == expected
    assert set(expected) == {"fid_192", "kid_192", "precision_192", "recall_192"}


def test_spatial_features_are_places_of_seven_channels() -> None:
    extractor = catalogue.extractor("inception_spatial")
    found = extract(extractor, smooth(2, 0, 8), "cpu", 2)
    assert found.shape == (2, 17 * 17 * 7) and (found >= 0).all() and found.std() > 0
    maps: list[np.ndarray] = []
    network = extractor._network
    network[-1].register_forward_hook(lambda module, inputs, output: maps.append(output.numpy()))
    assert type(network[-1].get_submodule("branch1x1")).__name__ == "Convolution"
    extract(extractor, smooth(2, 0, 8), "cpu", 2)
    assert np.array_equal(found.reshape(2, 17, 17, 7)[1, 3, 5], maps[0][1, :7, 3, 5])


def test_bad_files_end_with_one_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    real = folder(tmp_path / "real", smooth(4, 0, 8))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "half.npz", mu=np.zeros(192))
    np.savez(tmp_path / "wide.npz", mu=np.zeros(2048), sigma=np.eye(2048, dtype=np.float32))
    np.savez(tmp_path / "float.npz", np.zeros((4, 8, 8, 3)))
    np.savez(tmp_path / "odd.npz", mu=np.zeros(192), sigma=np.triu(np.ones((192, 192))))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", mu=np.array([{}], dtype=object), sigma=np.eye(192))
    np.savez(tmp_path / "complex.npz", mu=np.zeros(192, dtype=complex), sigma=np.eye(192))
    np.savez(tmp_path / "words.npz", mu=np.array(["a"] * 192), sigma=np.eye(192))
    np.savez(tmp_path / "damaged.npz", mu=np.zeros(192), sigma=np.eye(192))
    whole = bytearray((tmp_path / "damaged.npz").read_bytes())
    whole[200] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(whole)
    cases = [
        (["other.npz", real], "expected mu and sigma, or images in arr_0; got x"),
        (["half.npz", real], "mu and sigma together"),
        (["wide.npz", real], "moments of 192 features"),
        (["float.npz", real], "uint8 images"),
        (["odd.npz", real], "symmetric"),
        (["single.npz", real], "named arrays"),
        (["text.npz", real], "cannot be read"),
        (["absent.npz", real], "cannot be read"),
        (["empty.npz", real], "cannot be read"),
        (["objects.npz", real], "cannot be read"),
        (["complex.npz", real], "real numbers in mu; got an array of complex128"),
        (["words.npz", real], "real numbers in mu; got an array of <U1"),
        (["damaged.npz", real], "cannot be read"),
        (["wide.npz", real, "--metrics", "kid"], "moments are enough for"),
        (["wide.npz", "--save-statistics", tmp_path / "x.npz"], "images as REAL"),
        ([real, "--save-statistics", tmp_path / "x.txt"], "ends in .npz"),
        ([real], "FAKE"),
        ([real, "--save-statistics", tmp_path / "x.npz", "--statistics-format", "adm"], "inception_2048"),
        ([real, "--save-statistics", tmp_path / "x.npz", "--statistics-format", "admm"], "Did you mean 'adm'?"),
    ]
    for words, expected in cases:
        arguments = [str(tmp_path / word) if str(word).endswith(".npz") else str(word) for word in words]
        assert main([*arguments, *QUICK]) == 2, words
        error = " ".join(capfd.readouterr().err.split())
        assert expected in error and "Traceback" not in error, (expected, error)


def test_statistics_that_do_not_belong_together() -> None:
    for arrays in ({}, {"mu": np.zeros(3)}, {"mu": np.zeros(3), "sigma": np.zeros((2, 2))}):
        with pytest.raises(DataError):
            Statistics(arrays)
    with pytest.raises(DataError, match="at least 2 images"):
        Statistics.of(features(1))


@pytest.mark.slow
def test_files_for_guided_diffusion_have_both_layers(tmp_path: Path) -> None:
    real, out = folder(tmp_path / "real", smooth(4, 0, 8)), tmp_path / "adm.npz"
    words = [str(real), "--save-statistics", str(out), "--statistics-format", "adm", "--device", "cpu"]
    assert main(words) == 0
    found = Statistics.read(out)
    assert len(found.arrays["mu"]) == 2048 and len(found.arrays["mu_s"]) == 2023
    images = smooth(4, 0, 8)
    expected = extract(catalogue.extractor("inception_spatial"), images, "cpu", 4).mean(axis=0)
    np.testing.assert_allclose(found.arrays["mu_s"], expected, atol=1e-4)
