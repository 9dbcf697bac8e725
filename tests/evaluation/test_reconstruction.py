"""Scores of reconstructions against closed forms."""

import numpy as np
import pytest

from ablatent.core.errors import DataError
from ablatent.evaluation.reconstruction import psnr, reconstruction_scores
from ablatent.first_stage.perceptual import NoPerceptual, Perceptual


class MeanAbsolute(Perceptual):
    """A distance whose value is known."""

    name, digest, smallest = "mean_absolute", "0", 4

    def forward(self, x, y):  # type: ignore[no-untyped-def]
        assert x.min() >= -1 and x.max() <= 1
        return (x - y).abs().mean(dim=(1, 2, 3))


def images(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (n, size, size, 3), dtype=np.uint8)


def test_psnr_is_the_mean_over_images() -> None:
    x = images(2, 16)
    y = x.copy()
    y[0] += 1
    y[1] += 10
    expected = [20 * np.log10(255), 20 * np.log10(25.5)]
    np.testing.assert_allclose(psnr(x, y), expected)
    scores = reconstruction_scores(x, y, MeanAbsolute(), batch_size=1)
    assert scores["psnr"].value == pytest.approx(np.mean(expected))
    assert scores["perceptual"].value == pytest.approx(5.5 / 127.5, rel=1e-5)
    assert scores["perceptual"].protocol["network"] == "mean_absolute"
    assert not scores["psnr"].notes


def test_ssim_of_equal_and_of_flat_images() -> None:
    x = images(3, 16)
    assert reconstruction_scores(x, x, NoPerceptual())["ssim"].value == pytest.approx(1)
    a, b = np.full((3, 16, 16, 3), 100, np.uint8), np.full((3, 16, 16, 3), 50, np.uint8)
    c = (0.01 * 255) ** 2  # flat images differ in luminance alone
    expected = (2 * 100 * 50 + c) / (100**2 + 50**2 + c)
    score = reconstruction_scores(a, b, NoPerceptual(), batch_size=2)["ssim"]
    assert score.value == pytest.approx(expected, rel=1e-3)
    assert score.protocol["data_range"] == 255


def written_out_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004 in float64, one window of 11 px after the other, inside the image alone."""
    steps = np.arange(-5, 6)
    weights = np.exp(-(steps**2) / (2 * 1.5**2))
    window = np.outer(weights, weights)
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = (image[i : i + 11, j : j + 11, channel].astype(np.float64) for image in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
                covariance = (window * a * b).sum() - mean_a * mean_b
                luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
                values.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(11, 11), (16, 24)])
def test_ssim_takes_the_windows_inside_the_image(shape: tuple[int, int]) -> None:
    """As scikit-image; a mirrored border, where the image is brightest here, would give another number."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    y = np.clip(x + rng.normal(0, 60, x.shape), 0, 255).astype(np.uint8)
    y[:, :3], y[:, -3:] = 255, 255
    score = reconstruction_scores(x, y, NoPerceptual())["ssim"]
    expected = np.mean([written_out_ssim(*pair) for pair in zip(x, y, strict=True)])
    assert score.value == pytest.approx(expected, abs=1e-5)
    assert score.protocol["border"] == "windows inside the image"


def test_what_cannot_be_had_is_left_out_and_said() -> None:
    network = MeanAbsolute()
    network.smallest = 18
    scores = reconstruction_scores(images(2, 8), images(2, 8), network)
    assert set(scores) == {"psnr"}
    assert scores["psnr"].value == pytest.approx(10 * np.log10(255**2 / 1e-2))
    assert len(scores["psnr"].notes) == 2
    assert set(reconstruction_scores(images(2, 16), images(2, 16), NoPerceptual())) == {"psnr", "ssim"}


def test_unequal_sets_are_refused() -> None:
    with pytest.raises(DataError):
        reconstruction_scores(images(2, 8), images(3, 8), NoPerceptual())
    with pytest.raises(DataError):
        reconstruction_scores(images(0, 8), images(0, 8), NoPerceptual())
