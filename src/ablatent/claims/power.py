"""How many trainings an arm a claim wants: the power of its rule over their number. float64.

The mean of n differences is normal, their spread follows chi; the interval is Student's t. Integrated over the spread
for the chance that it lies beyond a bound (the noncentral t) or between two (Owen 1965); of two arms also over the
share of the first in both variances, which is beta distributed and decides Welch's degrees of freedom.
"""

import math
from functools import cache, lru_cache

import numpy as np

from ablatent.claims.intervals import LEVEL, quantiles
from ablatent.claims.observations import FEWEST

POWER = 0.8
LARGEST = 1000
"""Trainings an arm: none is named beyond it."""
NODES, SHARES = 512, 64
"""Points of the integrals over spreads and over shares."""


@cache
def _spreads(degrees: int) -> np.ndarray:
    """(NODES,) quantiles of a sample deviation in units of the true one, of equal probability each."""
    from scipy.special import gammaincinv

    return np.sqrt(gammaincinv(degrees / 2, _middle(NODES)) / (degrees / 2))


@lru_cache(maxsize=64)
def _halves(n: int, confidence: float, paired: bool) -> np.ndarray:
    """Half the widths of intervals of n trainings an arm, in true standard errors, of equal probability each.

    (NODES,) of pairs, (SHARES, NODES) of two arms.
    """
    if paired:
        return quantiles(np.array(n - 1.0), confidence) * _spreads(n - 1)
    from scipy.special import betaincinv

    share = betaincinv((n - 1) / 2, (n - 1) / 2, _middle(SHARES))
    welch = (n - 1) / (share**2 + (1 - share) ** 2)
    return quantiles(welch, confidence)[:, None] * _spreads(2 * (n - 1))


def _middle(count: int) -> np.ndarray:
    """(count,) probabilities in the middles of equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count


def power_of(
    n: int, low: float, high: float, effect: float, spread: float, confidence: float = LEVEL, paired: bool = True
) -> float:
    """The probability, in [0, 1], that the interval of n ≥ 2 trainings an arm lies between two bounds.

    low, high: the bounds, -inf and inf where there is none; effect: the true one, and spread > 0: the true deviation,
    of a difference of pairs, or of one training; confidence: of the two-sided interval.
    """
    error = spread * math.sqrt((1 if paired else 2) / n)
    half = _halves(n, confidence, paired)
    from scipy.special import ndtr

    inside = ndtr((high - effect) / error - half) - ndtr((low - effect) / error + half)
    return float(np.clip(inside, 0, 1).mean())


def trainings_for(
    effect: float,
    spread: float,
    confidence: float = LEVEL,
    power: float = POWER,
    *,
    low: float = -math.inf,
    high: float = 0.0,
    paired: bool = True,
) -> int | None:
    """The fewest trainings an arm, from 3 to 1000, whose interval lies between two bounds with this power.

    Of a pilot: effect and spread as it estimates them. low, high: by default the bounds of a claim of a lower score
    without a margin. None where 1000 are too few, as for an effect that lies at a bound or beyond it.
    """
    if not low < effect < high or spread < 0:
        return None
    if spread == 0:
        return FEWEST

    def enough(n: int) -> bool:
        return power_of(n, low, high, effect, spread, confidence, paired) >= power

    if not enough(LARGEST):
        return None
    few, many = FEWEST - 1, LARGEST
    while many - few > 1:  # more trainings never have less power
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many
