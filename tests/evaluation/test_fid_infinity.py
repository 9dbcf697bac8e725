"""FID extrapolated to infinitely many samples, on Gaussians whose distance is known."""

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.evaluation.fid import FID
from ablatent.evaluation.fid_infinity import FIDInfinity
from ablatent.evaluation.frechet import FeatureMoments
from ablatent.evaluation.judge_features import JudgeExtractor
from ablatent.evaluation.scores import score_features

DIM = 12
REAL = np.random.default_rng(0).standard_normal((500, DIM)).astype(np.float32)
TRUTH = FeatureMoments(np.full(DIM, 0.2), 1.1 * np.eye(DIM)).distance(FeatureMoments.of(REAL))


def drawn(seed: int, n: int = 240) -> np.ndarray:
    return (1.1 * np.random.default_rng(seed).standard_normal((n, DIM)) + 0.2).astype(np.float32)


def test_the_bias_of_few_samples_is_gone_and_the_interval_holds_the_truth() -> None:
    metric = FIDInfinity(smallest=30)
    scores = [metric(drawn(seed), REAL)["fid_inf"] for seed in range(30)]
    plain = np.array([FID(groups=None)(drawn(seed), REAL)["fid"].value for seed in range(30)])
    values, ends = np.array([s.value for s in scores]), np.array([s.interval for s in scores])
    error = values.std() / np.sqrt(30)
    assert plain.mean() - TRUTH > 5 * error
    assert abs(values.mean() - TRUTH) < 0.3 * (plain.mean() - TRUTH)
    assert ((ends[:, 0] <= TRUTH) & (ends[:, 1] >= TRUTH)).mean() >= 0.85


def test_the_sizes_are_parts_of_all_samples_and_the_seed_decides() -> None:
    x = drawn(0)
    score = FIDInfinity(smallest=60)(x, REAL)["fid_inf"]
    assert score.protocol["sizes"] == [240, 120, 80, 60] and not score.notes and score.label == "FID∞"
    assert FIDInfinity(smallest=60)(x, REAL)["fid_inf"].value == score.value
    assert FIDInfinity(smallest=60, seed=1)(x, REAL)["fid_inf"].value != score.value
    assert FIDInfinity(smallest=60, groups=None)(x, REAL)["fid_inf"].interval is None
    assert FIDInfinity(smallest=5)(x, REAL)["fid_inf"].protocol["sizes"][-1] == 30, "8 parts at most"
    tiny = FIDInfinity(smallest=2)(x[:24], REAL)["fid_inf"]
    assert "not straight" in tiny.notes[0] and tiny.protocol["sizes"][-1] == 3


def test_too_few_samples_are_refused_in_one_sentence() -> None:
    metric = FIDInfinity(smallest=100)
    assert metric.min_images == 300 and metric.min_real == 2
    with pytest.raises(DataError, match=r"at least 300 samples.*'count_fake': 240"):
        metric(drawn(0), REAL)
    for bad in (lambda: FIDInfinity(smallest=1), lambda: FIDInfinity(groups=2), lambda: FID(groups=1)):
        with pytest.raises(ConfigError):
            bad()


def test_it_is_no_fid_on_other_features() -> None:
    judge = JudgeExtractor("_judge")
    judge.digest = "of no network"
    scores = score_features({"x": FIDInfinity(smallest=60)}, judge, lambda _: drawn(0), lambda _: REAL)
    assert {name: score.label for name, score in scores.items()} == {"fd_inf_judge": "FD∞(judge)"}
