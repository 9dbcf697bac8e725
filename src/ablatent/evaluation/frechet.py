"""The Fréchet distance of two Gaussians, by moments. Dowson and Landau 1982; Heusel et al. 2017, eq. 6.

|mu1 - mu2|² + tr(S1 + S2 - 2 (S1 S2)^½), where tr (S1 S2)^½ is the nuclear norm of A Bᵀ for S1 = AᵀA, S2 = BᵀB: never
complex, exact for singular covariances, and small when there are fewer images than dimensions. All in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ablatent.core.errors import DataError
from ablatent.core.progress import track

ROWS = 4096


@dataclass(frozen=True)
class FeatureMoments:
    """Mean and covariance of features, as a factor F with FᵀF = covariance that has as few rows as it can."""

    mean: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "r d"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> "FeatureMoments":
        """Of features, of which ROWS at once are in memory."""
        n, dim = features.shape
        parts = [slice(first, first + ROWS) for first in range(0, n, ROWS)]
        mean = np.zeros(dim)
        for part in parts:
            mean += features[part].sum(axis=0, dtype=np.float64) / n
        if n <= dim:
            return cls(mean, (features.astype(np.float64) - mean) / np.sqrt(n - 1))
        sigma = np.zeros((dim, dim))
        for part in parts:
            centred = features[part].astype(np.float64) - mean
            sigma += centred.T @ centred
        return cls(mean, _factor(sigma / (n - 1)))

    @classmethod
    def from_covariance(cls, mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"]) -> "FeatureMoments":
        """Of a mean and a covariance. Raises DataError for shapes that do not fit, and for numbers that are no
        covariance."""
        mean, sigma = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
        if mean.ndim != 1 or sigma.shape != (len(mean), len(mean)):
            raise DataError(f"moments: expected a mean (d,) and a covariance (d, d); got {mean.shape}, {sigma.shape}.")
        if not (np.isfinite(mean).all() and np.isfinite(sigma).all()):
            raise DataError("moments: expected finite numbers; got others.")
        scale = np.abs(sigma).max()
        if np.abs(sigma - sigma.T).max() > 1e-4 * scale or sigma.diagonal().min() < -1e-4 * scale:
            raise DataError("moments: expected a covariance, which is symmetric and has no negative variance.")
        return cls(mean, _factor((sigma + sigma.T) / 2))

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """FᵀF."""
        return self.factor.T @ self.factor

    def distance(self, other: "FeatureMoments") -> float:
        """The squared Fréchet distance to other moments of the same dimension."""
        difference = self.mean - other.mean
        root = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        value = difference @ difference + np.square(self.factor).sum() + np.square(other.factor).sum() - 2 * root
        return float(value)


class Subsets:
    """Distances of parts of a set of features to fixed moments, faster than one by one: only eigenvalues are taken, of
    a matrix that has no more rows than the images, the other set's factor or the dimensions have. To about 1e-6 of
    `FeatureMoments.distance`.
    """

    def __init__(self, features: Float[np.ndarray, "n d"], other: FeatureMoments):
        self.features, self.other = features, other
        self._centre = np.asarray(features[:ROWS].mean(axis=0, dtype=np.float64))  # any near point: for accuracy alone

    def distance(self, rows: Int[np.ndarray, " k"]) -> float:
        """Of these rows of the features."""
        return self._of(*self._sums(rows))

    def without_each(self, group: Int[np.ndarray, " n"]) -> list[float]:
        """Of all rows without those of each group, in order of the groups."""
        members, found = [np.flatnonzero(group == g) for g in range(group.max() + 1)], list[float]()
        with track("interval of a Fréchet distance", len(members), "groups") as bar:
            for distance in self._without_each(members):
                found.append(distance)
                bar.advance()
        return found

    def _without_each(self, members: list[np.ndarray]) -> Iterator[float]:
        if len(self.features) <= len(self.other.factor):  # products of images with each other: the smaller matrix
            yield from self._without_each_of_few(members)
            return
        n, total, squares, products = self._sums(np.arange(len(self.features)))
        for rows in members:
            own, own_total, own_squares, own_products = self._sums(rows)
            yield self._of(n - own, total - own_total, squares - own_squares, products - own_products)

    def _without_each_of_few(self, members: list[np.ndarray]) -> Iterator[float]:
        x = self.features.astype(np.float64) - self._centre
        projected = x @ self.other.factor.T
        products, squares = projected @ projected.T, np.square(x).sum(axis=1)
        for rows in members:
            left = np.delete(np.arange(len(x)), rows)
            part = products[np.ix_(left, left)]
            by_row = part.mean(axis=0)
            centred = part - by_row - by_row[:, None] + by_row.mean()
            yield self._distance(len(left), x[left].mean(axis=0), squares[left].sum(), centred)

    def _sums(self, rows: np.ndarray) -> tuple[int, np.ndarray, float, np.ndarray]:
        """(number, sum, sum of squares, sum of products of the projections) of rows, which add up over parts."""
        factor, dim = self.other.factor, self.features.shape[1]
        total, squares, products = np.zeros(dim), 0.0, np.zeros((len(factor), len(factor)))
        for first in range(0, len(rows), ROWS):
            x = self.features[rows[first : first + ROWS]].astype(np.float64) - self._centre
            projected = x @ factor.T
            total += x.sum(axis=0)
            squares += float(np.square(x).sum())
            products += projected.T @ projected
        return len(rows), total, squares, products

    def _of(self, n: int, total: np.ndarray, squares: float, products: np.ndarray) -> float:
        mean = total / n
        projected = self.other.factor @ mean
        return self._distance(n, mean, squares, products - n * np.outer(projected, projected))

    def _distance(self, n: int, mean: np.ndarray, squares: float, products: np.ndarray) -> float:
        """products: of centred projections with each other, over images or over dimensions: their eigenvalues are the
        squares of the singular values of A Bᵀ, times n - 1."""
        root = np.sqrt(np.clip(np.linalg.eigvalsh(products), 0, None) / (n - 1)).sum()
        trace = (squares - n * float(mean @ mean)) / (n - 1)
        difference = mean + self._centre - self.other.mean
        return float(difference @ difference + trace + np.square(self.other.factor).sum() - 2 * root)


def _factor(sigma: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(sigma)
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
