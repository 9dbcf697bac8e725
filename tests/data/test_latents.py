"""The scale of latents, taken part by part."""

import numpy as np
import pytest

from ablatent.data.latents import ChannelMoments, LatentNormalizer

RNG = np.random.default_rng(0)
MEAN = (3 * RNG.standard_normal((70, 4, 8, 8)) + RNG.standard_normal((4, 1, 1))).astype(np.float32)
STD = np.abs(RNG.standard_normal(MEAN.shape)).astype(np.float32)


def moments(size):
    def parts():
        return ((MEAN[i : i + size], STD[i : i + size]) for i in range(0, len(MEAN), size))

    return ChannelMoments.of(parts, 70 * 64)


@pytest.mark.parametrize("size", [1, 32, 70])
def test_scales_of_channels_are_to_the_bit_those_of_all_images_at_once(size):
    """Trainings on latents depend on these numbers."""
    axes = (0, 2, 3)
    scale = np.sqrt(MEAN.var(axes, dtype=np.float64) + np.square(STD, dtype=np.float64).mean(axes))
    expected = LatentNormalizer(tuple(MEAN.mean(axes, dtype=np.float64).tolist()), tuple(scale.tolist()))
    assert LatentNormalizer.fit(moments(size), "channel") == expected
    np.testing.assert_allclose(moments(size).deviation, STD.mean(axes, dtype=np.float64), rtol=1e-12)


def test_one_scale_for_all_channels_counts_how_their_means_differ():
    found = LatentNormalizer.fit(moments(32), "scalar")
    scale = np.sqrt(MEAN.var(dtype=np.float64) + np.square(STD, dtype=np.float64).mean())
    np.testing.assert_allclose(found.shift, [MEAN.mean(dtype=np.float64)] * 4, rtol=1e-12)
    np.testing.assert_allclose(found.scale, [scale] * 4, rtol=1e-12)
