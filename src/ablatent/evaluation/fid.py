"""Frechet Inception distance. Heusel et al. 2017, eq. 6: |mu1 - mu2|² + tr(S1 + S2 - 2 (S1 S2)^½)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ablatent.core.errors import DataError
from ablatent.evaluation.scores import Metric, Score, counts, small_sample_notes


@dataclass(frozen=True)
class FID(Metric):
    """FID with torch-fidelity's statistics and a symmetric square root in float64.

    tr (S1 S2)^½ is the nuclear norm of A Bᵀ for S1 = AᵀA, S2 = BᵀB: never complex, exact for singular covariances, and
    small when there are fewer images than dimensions.
    """

    @property
    def min_images(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        from torch_fidelity.metric_fid import fid_features_to_statistics

        if real is None or min(len(fake), len(real)) < self.min_images:
            raise DataError(f"fid: expected at least {self.min_images} images a set; got {counts(fake, real)}.")
        a, b = (fid_features_to_statistics(torch.from_numpy(f.astype(np.float64))) for f in (fake, real))
        difference = a["mu"] - b["mu"]
        root = np.linalg.svd(_factor(fake, a["sigma"]) @ _factor(real, b["sigma"]).T, compute_uv=False).sum()
        value = difference @ difference + np.trace(a["sigma"]) + np.trace(b["sigma"]) - 2 * root
        protocol = counts(fake, real) | {"square_root": "symmetric, float64"}
        notes = small_sample_notes(fake, real)
        return {"fid": Score(float(value), None, protocol, notes, label="FID", better="lower", shown_in="terminal")}


def _factor(features: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """F with FᵀF = sigma, with as few rows as it can have."""
    n, dim = features.shape
    if n <= dim:
        centred = features.astype(np.float64)
        return (centred - centred.mean(axis=0)) / np.sqrt(n - 1)
    values, vectors = np.linalg.eigh(sigma)
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
