"""Metrics on features whose scores are known in closed form."""

import json
from pathlib import Path

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.evaluation import catalogue
from ablatent.evaluation.fid import FID
from ablatent.evaluation.inception_score import InceptionScore
from ablatent.evaluation.kid import KID
from ablatent.evaluation.precision_recall import PrecisionRecall
from ablatent.evaluation.scores import Extractor, Score, score_features


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def with_moments(n: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Features of exactly this mean and these independent deviations."""
    x = normal(n, len(mean)).astype(np.float64)
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return (x * std + mean).astype(np.float32)


@pytest.mark.parametrize("n", [12, 400])  # fewer images than dimensions, and more
def test_fid_of_a_set_with_itself_is_zero(n: int) -> None:
    x = normal(n, 32)
    score = FID()(x, x.copy())["fid"]
    assert abs(score.value) < 1e-6
    assert bool(score.notes) == (n <= 32)


def test_fid_of_gaussians() -> None:
    mean, std = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0])
    score = FID()(with_moments(300, mean, std), with_moments(200, np.zeros(3), np.ones(3)))["fid"]
    assert score.value == pytest.approx((mean**2).sum() + ((std - 1) ** 2).sum(), rel=1e-5)
    assert score.protocol["count_fake"] == 300
    assert score.protocol["count_real"] == 200


def test_fid_by_factors_equals_torch_fidelity_for_singular_covariances() -> None:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = normal(20, 48), 1.5 * normal(100, 48, seed=1) + 0.2
    statistics = [fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (a, b)]
    reference = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert FID()(a, b)["fid"].value == pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 90, 24), (170, 130, 16)])
def test_in_blocks_scores_are_those_of_torch_fidelity(
    n: int, m: int, d: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    fake, real = normal(n, d), 1.1 * normal(m, d, seed=1)
    real[5] = real[6]
    sets = [torch.from_numpy(x) for x in (fake, real)]
    kernel = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    size = min(n, m) // 2
    kid = kid_features_to_metric(*sets, kid_subset_size=size, kid_subsets=20, rng_seed=2020, verbose=False, **kernel)
    prc = prc_features_to_metric(*sets, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False)
    statistics = [fid_features_to_statistics(x.double()) for x in sets]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]

    monkeypatch.setattr("ablatent.evaluation.frechet.ROWS", 37)
    for name, x in (("fake", fake), ("real", real)):
        np.save(tmp_path / f"{name}.npy", x)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("fake", "real")]
    assert FID()(*mapped)["fid"].value == pytest.approx(fid, rel=1e-6)
    ours = KID(subsets=20)(*mapped)["kid"]
    assert ours.value == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-4, abs=1e-6)
    assert ours.std == pytest.approx(kid["kernel_inception_distance_std"], rel=1e-4)
    inside = PrecisionRecall(batch_size=37)(*mapped)
    for name in ("precision", "recall"):
        assert 0 < prc[name] < 1
        assert inside[name].value == pytest.approx(prc[name], abs=1e-6)


def test_kid_is_unbiased_and_says_its_subset_size() -> None:
    score = KID(subsets=50)(normal(600, 8), normal(500, 8, seed=1))["kid"]
    assert score.protocol["subset_size"] == 250
    assert score.notes
    assert score.std is not None
    assert abs(score.value) < 3 * score.std
    shifted = KID(subsets=50)(normal(600, 8) + 1, normal(500, 8, seed=1))["kid"]
    assert shifted.value > 20 * score.std
    assert not KID(subsets=1, subset_size=100)(normal(600, 8), normal(500, 8))["kid"].notes


def test_kid_of_two_points_by_hand() -> None:
    # every x is a, every y is b: k(a,a) - 2 k(a,b) + k(b,b), k(x,y) = (x·y/d + 1)³
    a, b = np.tile(np.float32([1, 0]), (6, 1)), np.tile(np.float32([0, 2]), (6, 1))
    assert KID(subsets=2)(a, b)["kid"].value == pytest.approx(1.5**3 - 2 * 1 + 3**3)


def test_precision_and_recall_by_hand() -> None:
    real = np.float32([[i, 0] for i in range(10)])
    fake = np.float32([[i, 0] for i in range(5)] + [[100 + i, 0] for i in range(5)])
    scores = PrecisionRecall(neighborhood=1, batch_size=3)(fake, real)
    assert scores["precision"].value == pytest.approx(0.5)  # 0..4 lie among the reals
    assert scores["recall"].value == pytest.approx(0.6)  # 0..4, and 5 in the ball of radius 1 of fake 4


def test_inception_score_by_hand() -> None:
    metric = catalogue.metric("is_effnet_lite0")
    sure = np.tile(np.eye(10, dtype=np.float32) * 100, (10, 1))
    score = metric(sure, None)["is_effnet_lite0"]
    assert score.protocol["splits"] == 10
    even = InceptionScore("is_effnet_lite0", catalogue.extractor("effnet_lite0"), 1)(sure, None)["is_effnet_lite0"]
    assert even.value == pytest.approx(10, rel=1e-6)
    assert metric(np.zeros((50, 10), np.float32), None)["is_effnet_lite0"].value == pytest.approx(1)


def test_is_is_refused_by_name_without_its_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(catalogue, "INCEPTION_URL", (tmp_path / "absent.pth").as_uri())
    with pytest.raises(ConfigError) as error:
        catalogue.metric("is").check()
    assert error.value.key == "evaluation.metrics.is"
    assert "is_effnet_lite0" in str(error.value)


def test_is_belongs_to_the_inception_classifier() -> None:
    for name, extractor in (("is", "effnet_lite0"), ("is", "inception_2048"), ("is_mine", "inception_logits")):
        with pytest.raises(ConfigError, match=r"evaluation\.metrics\.is\.name"):
            InceptionScore(name, catalogue.extractor(extractor))


def test_inception_without_classifier_gives_no_logits() -> None:
    from ablatent.evaluation.inception import InceptionExtractor

    extractor = InceptionExtractor("logits_unbiased", "", catalogue.inception_weights(), catalogue.TRUNK_DIGEST)
    if extractor.weights.find().origin != "package":
        pytest.skip("this machine has the file with the classifier")
    with pytest.raises(ConfigError, match=r"evaluation\.metrics\.is"):
        extractor.load()


def test_names_suffixes_and_protocols() -> None:
    metrics = {name: catalogue.metric(name) for name in ("fid", "kid", "precision_recall", "is_effnet_lite0")}
    sets = {"fake": normal(30, 6), "real": normal(40, 6, seed=1)}
    extracted: list[str] = []

    def features(which: str, extractor) -> np.ndarray:  # type: ignore[no-untyped-def]
        extracted.append(f"{which} {extractor.name}")
        return sets[which]

    extractor = catalogue.extractor("inception_192")
    scores = score_features(metrics, extractor, lambda e: features("fake", e), lambda e: features("real", e))
    assert set(scores) == {"fid_192", "kid_192", "precision_192", "recall_192", "is_effnet_lite0"}
    assert "real effnet-lite0/logits" not in extracted
    for name, score in scores.items():
        expected = "effnet-lite0/logits" if name == "is_effnet_lite0" else "inception-v3-compat/192"
        assert score.protocol["extractor"] == expected
        assert {"extractor_digest", "layer", "resize", "versions", "count_fake"} <= set(score.protocol)
    json.dumps({name: score.to_dict() for name, score in scores.items()}, allow_nan=False)


def test_bad_knobs_and_too_few_images() -> None:
    for bad in (
        lambda: KID(subsets=0),
        lambda: PrecisionRecall(neighborhood=0),
        lambda: Score(float("nan"), label="x", better=None),
    ):
        with pytest.raises((ConfigError, DataError)):
            bad()
    for metric in (FID(), KID(), PrecisionRecall()):
        with pytest.raises(DataError, match="at least"):
            metric(normal(1, 4), normal(50, 4))
        with pytest.raises(DataError):
            metric(normal(50, 4), None)
    with pytest.raises(ConfigError, match="Did you mean 'kid'"):
        catalogue.metric("kidd")


def test_scores_say_how_they_are_shown() -> None:
    """Reports keep no list of metrics: labels, directions and prominence come from here."""
    rng = np.random.default_rng(0)
    fake, real = rng.standard_normal((2, 40, 8)).astype(np.float32)
    names = ("fid", "kid", "precision_recall", "is_effnet_lite0")
    metrics = {name: catalogue.metric(name) for name in names}
    quick, full = catalogue.extractor("inception_192"), catalogue.extractor("inception_2048")

    def shown(extractor: Extractor, decoded_noise: bool = False) -> dict[str, tuple]:
        scores = score_features(metrics, extractor, lambda _: fake, lambda _: real, decoded_noise=decoded_noise)
        return {n: (s.label, s.better, s.shown_in, s.beside, bool(s.remark)) for n, s in scores.items()}

    assert shown(quick) == {
        "fid_192": ("FID(quick)", "lower", "terminal", None, False),
        "kid_192": ("KID(quick)", "lower", "terminal", None, False),
        "precision_192": ("precision(quick)", "higher", "report", None, False),
        "recall_192": ("recall(quick)", "higher", "report", None, False),
        "is_effnet_lite0": ("IS*(EfficientNet-Lite0)", "higher", "report", None, True),
    }
    assert shown(full)["fid"][0] == "FID"
    noise = shown(quick, decoded_noise=True)
    assert noise["kid_192_baseline"] == ("KID(quick) of decoded N(0, I)", None, "terminal", "kid_192", True)
    assert noise["fid_192_baseline"] == ("FID(quick) of decoded N(0, I)", None, "csv", "fid_192", True)
    assert InceptionScore("is", catalogue.extractor("inception_logits"))(fake, None)["is"].label == "IS"
    assert catalogue.extractor("clip_vit_l14").label == "(ViT-L/14)"
