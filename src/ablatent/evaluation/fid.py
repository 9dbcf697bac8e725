"""Frechet Inception distance. Heusel et al. 2017, eq. 6: |mu1 - mu2|² + tr(S1 + S2 - 2 (S1 S2)^½)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ablatent.core.errors import DataError
from ablatent.evaluation.scores import Metric, Score, counts, small_sample_notes

ROWS = 4096


@dataclass(frozen=True)
class FID(Metric):
    """FID by the statistics that torch-fidelity takes, with a symmetric square root in float64.

    tr (S1 S2)^½ is the nuclear norm of A Bᵀ for S1 = AᵀA, S2 = BᵀB: never complex, exact for singular covariances, and
    small when there are fewer images than dimensions.
    """

    @property
    def min_images(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        if real is None or min(len(fake), len(real)) < self.min_images:
            raise DataError(f"fid: expected at least {self.min_images} images a set; got {counts(fake, real)}.")
        (mean, factor), (real_mean, real_factor) = _moments(fake), _moments(real)
        difference = mean - real_mean
        root = np.linalg.svd(factor @ real_factor.T, compute_uv=False).sum()
        value = difference @ difference + np.square(factor).sum() + np.square(real_factor).sum() - 2 * root
        protocol = counts(fake, real) | {"square_root": "symmetric, float64"}
        notes = small_sample_notes(fake, real)
        return {"fid": Score(float(value), None, protocol, notes, label="FID", better="lower", shown_in="terminal")}


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (d,), F with FᵀF = covariance, with as few rows as it can have), in float64, from ROWS at once."""
    n, dim = features.shape
    parts = [slice(first, first + ROWS) for first in range(0, n, ROWS)]
    mean = np.zeros(dim)
    for part in parts:
        mean += features[part].sum(axis=0, dtype=np.float64) / n
    if n <= dim:
        return mean, (features.astype(np.float64) - mean) / np.sqrt(n - 1)
    sigma = np.zeros((dim, dim))
    for part in parts:
        centred = features[part].astype(np.float64) - mean
        sigma += centred.T @ centred
    values, vectors = np.linalg.eigh(sigma / (n - 1))
    return mean, np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
