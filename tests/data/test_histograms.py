import numpy as np
import pytest
import torch

from ablatent.data.histograms import ChannelHistograms
from ablatent.data.latents import LatentNormalizer, Latents
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.first_stage.vq import VQAutoencoder
from ablatent.stages.latents.build import histograms


def test_counts_and_moments_whatever_the_batches() -> None:
    z = np.random.default_rng(0).normal([[[1.0]], [[-3.0]]], [[[0.5]], [[2.0]]], size=(50, 2, 3, 4)).astype(np.float32)
    whole, parts = ChannelHistograms(2), ChannelHistograms(2)
    whole.add(z)
    for i in range(0, 50, 7):
        parts.add(z[i : i + 7])
    summary, again = whole.as_json(), parts.as_json()
    assert summary["counts"] == again["counts"] and summary["outside"] == again["outside"]
    assert len(summary["edges"]) == 61 and summary["edges"][0] == -6 and summary["edges"][-1] == 6
    for c in range(2):
        assert sum(summary["counts"][c]) + summary["outside"][c] == 50 * 12
        assert summary["outside"][c] == (np.abs(z[:, c]) > 6).sum()
        assert summary["counts"][c][30] == ((z[:, c] >= 0) & (z[:, c] < 0.2)).sum()
        assert summary["mean"][c] == pytest.approx(z[:, c].mean(), rel=1e-4)
        assert again["std"][c] == pytest.approx(z[:, c].std(), rel=1e-4)
    assert summary["outside"][1] > 0


def test_training_rows_of_all_views_with_the_encoders_noise_and_the_codes_they_choose() -> None:
    """Means 3 and 5 with encoder noise of deviation 2, beside rows that are no training images."""
    mean = np.full((2, 40, 3, 8, 8), 1e3, dtype=np.float32)
    rows = np.arange(1, 40, 2)
    mean[0, rows], mean[1, rows] = 3.0, 5.0
    normalizer = LatentNormalizer((4.0,) * 3, (5**0.5,) * 3)  # variance 1 of the means, 4 of the noise
    latents = Latents(mean, np.full_like(mean, 2.0), normalizer)
    summary = histograms(latents, rows, IdentityFirstStage(), 8, torch.device("cpu"))
    assert summary["codes"] is None and sum(map(sum, summary["counts"])) + sum(summary["outside"]) == 2 * 20 * 3 * 64
    np.testing.assert_allclose(summary["mean"], 0.0, atol=0.05)
    np.testing.assert_allclose(summary["std"], 1.0, atol=0.05)
    assert summary["counts"] == histograms(latents, rows, IdentityFirstStage(), 100, torch.device("cpu"))["counts"]

    model = VQAutoencoder(
        ch=8, ch_mult=[1, 2], num_res_blocks=1, z_channels=3, attn_factors=[], mid_blocks=0, mid_attention=False,
        dropout=0.0, stem=2, n_embed=4, beta=0.25, restart_every=None, init="data",
    )  # fmt: skip
    with torch.no_grad():
        model.codebook.weight.copy_(torch.tensor([[3.0] * 3, [5.0] * 3, [9.0] * 3, [1e3] * 3]))
    assert histograms(latents, rows, model, 8, torch.device("cpu"))["codes"] == [20 * 64, 20 * 64, 0, 0]
