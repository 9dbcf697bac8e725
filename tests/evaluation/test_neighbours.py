"""Density, coverage and authenticity: against their authors' definitions, by hand, and in blocks."""

import contextlib
import io

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.evaluation.authenticity import Authenticity
from ablatent.evaluation.density_coverage import DensityCoverage
from ablatent.evaluation.neighbours import across_sets, within_set


def normal(n: int, d: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize(("n", "m", "k"), [(90, 70, 5), (40, 130, 3), (300, 200, 5)])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_density_and_coverage_are_those_of_prdc(n: int, m: int, k: int, scale: float) -> None:
    from prdc import compute_prdc

    fake, real = normal(n, 12, 0, scale) + 0.2, normal(m, 12, 1)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real_features=real, fake_features=fake, nearest_k=k)
    for batch_size in (4096, 37):
        found = DensityCoverage(neighborhood=k, batch_size=batch_size)(fake, real)
        for name in ("density", "coverage"):
            assert found[name].value == pytest.approx(expected[name], abs=1e-6), name
    assert 0 < expected["coverage"] < 1


def test_density_and_coverage_by_hand() -> None:
    # reals 0, 1, …, 9 on a line, k = 1: balls of radius 1, open
    real = np.float32([[i, 0] for i in range(10)])
    fake = np.float32([[0, 0], [0.5, 0], [100, 0], [200, 0]])
    found = DensityCoverage(neighborhood=1)(fake, real)
    assert found["density"].value == pytest.approx((1 + 2) / 4)  # 0 in the ball of 0 alone: that of 1 ends there
    assert found["coverage"].value == pytest.approx(2 / 10)


def test_copies_are_not_authentic_and_noise_is() -> None:
    real = normal(200, 10, 0)
    assert Authenticity()(real[:50] + 1e-3, real)["authenticity"].value == 0
    assert Authenticity()(normal(50, 10, 1, 20), real)["authenticity"].value == 1
    half = np.concatenate([real[:25], normal(25, 10, 2, 20)])
    score = Authenticity(batch_size=13)(half, real)["authenticity"]
    assert score.value == pytest.approx(0.5) and score.better is None
    fresh = Authenticity()(normal(300, 10, 3), real)["authenticity"].value
    assert 0.4 < fresh < 0.75, "samples of the distribution itself"


def test_authenticity_by_hand() -> None:
    real = np.float32([[0, 0], [3, 0], [100, 0]])
    # nearest real: 0, whose own nearest is at 3; 100, whose own nearest is at 97
    fake = np.float32([[-2, 0], [-4, 0], [100, 96], [100, 98]])
    assert Authenticity()(fake, real)["authenticity"].value == pytest.approx(0.5)
    twins = np.float32([[0, 0], [0, 0], [9, 0]])  # the nearest other image of a duplicate is its twin
    assert Authenticity()(np.float32([[1, 0]]), twins)["authenticity"].value == 1


def test_neighbours_in_blocks_are_those_of_all_distances() -> None:
    x, y = normal(50, 5, 0), normal(33, 5, 1)
    whole = np.linalg.norm(x[:, None] - y[None], axis=-1)
    found = across_sets(x, y, 4, block=7)
    np.testing.assert_allclose(found.distances, np.sort(whole, axis=1)[:, :4], rtol=1e-4)
    assert np.array_equal(found.indices, np.argsort(whole, axis=1)[:, :4])
    own = within_set(x, 60, block=7)
    assert np.isinf(own.distances[:, 50:]).all() and (own.indices[:, 50:] == -1).all()
    assert (own.indices[:, 0].numpy() == np.arange(50)).all()


def test_bad_knobs_and_too_few_images() -> None:
    for bad in (lambda: DensityCoverage(neighborhood=0), lambda: Authenticity(batch_size=0)):
        with pytest.raises(ConfigError):
            bad()
    with pytest.raises(DataError, match="at least 6 images"):
        DensityCoverage()(normal(5, 4, 0), normal(50, 4, 1))
    with pytest.raises(DataError, match="at least 2 real images"):
        Authenticity()(normal(5, 4, 0), normal(1, 4, 1))
