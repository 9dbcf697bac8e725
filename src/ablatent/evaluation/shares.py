"""Shares with their uncertainty: of the things that conditions demand, those that a judge finds. numpy only."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ablatent.core.errors import DataError
from ablatent.core.rng import stream
from ablatent.evaluation.intervals import LEVEL, WILSON, Interval, wilson, wilson_half_width

RESAMPLES = 1000
BOOTSTRAP = f"bootstrap of {RESAMPLES} over images"


@dataclass(frozen=True)
class Share:
    """hits out of asks, a row an image; of several columns (classes) the mean of their shares. Values in [0, 1].

    hits: how many things were found; asks: how many there should be. A column without any asks does not count. Raises
    DataError where there are none at all.
    """

    hits: Float[np.ndarray, "n k"]
    asks: Float[np.ndarray, "n k"]

    def __post_init__(self) -> None:
        if not self.asks.sum():
            raise DataError("judge: expected images with something that can be looked for; none of them has any.")

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self._weighted(np.ones(len(self.hits)))

    @property
    def of_images(self) -> bool:
        """Whether each image counts once, right or wrong."""
        return self.asks.shape[1] == 1 and bool((self.asks == 1).all())

    @property
    def method(self) -> str:
        """How `interval` is taken."""
        return WILSON if self.of_images else BOOTSTRAP

    @property
    def spread(self) -> str:
        """What `half_width` is."""
        return f"half of the {LEVEL:.0%} interval ({self.method})"

    def half_width(self) -> float:
        """Half of the 95 % interval: Wilson's where images are right or wrong, else of a bootstrap over images."""
        if self.of_images:
            return wilson_half_width(self.value, len(self.hits))
        low, high = self.bootstrap
        return (high - low) / 2

    @property
    def interval(self) -> Interval:
        """The 95 % interval, with the value in it: Wilson's where images are right or wrong, else of a bootstrap."""
        return wilson(self.value, len(self.hits)) if self.of_images else self.bootstrap

    @cached_property
    def bootstrap(self) -> Interval:
        """The 95 % interval of a bootstrap over images, its quantiles (Efron 1979)."""
        rng, n = stream(0, "bootstrap"), len(self.hits)
        drawn = [self._weighted(np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(RESAMPLES)]
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def _weighted(self, weights: np.ndarray) -> float:
        """The share of weighted rows; NaN where the weights leave no asks."""
        hits, asks = weights @ self.hits, weights @ self.asks
        return float((hits[asks > 0] / asks[asks > 0]).mean()) if asks.any() else math.nan
