"""Confidence intervals of a difference of means over trainings, by Student's t: paired, or Welch's. float64.

Student 1908; Welch 1947, with the degrees of freedom of Satterthwaite 1946.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablatent.core.errors import DataError

LEVEL = 0.95
"""The confidence of one interval; of several of one experiment, of all together."""
PAIRED, UNPAIRED = "paired t", "Welch's t"
EQUAL = 1e-12
"""Spreads below this share of the values are rounding, none of trainings."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An effect with its interval.

    effect, low, high: in units of the values; spread: the sample deviation of a difference of a pair, or of one
    training (pooled over both arms where they are not paired); degrees: of freedom; test: its name; constant: the
    values do not vary, so that there is no interval, and low and high are the effect.
    """

    effect: float
    low: float
    high: float
    spread: float
    degrees: float
    test: str
    constant: bool = False


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """The sample variance (n - 1) of two or more values."""
    centre = mean(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1)


def bonferroni(questions: int, level: float = LEVEL) -> float:
    """The confidence of each of several intervals which all hold with `level` together, in (0, 1)."""
    return 1 - (1 - level) / max(questions, 1)


def quantiles(degrees: np.ndarray, confidence: float) -> np.ndarray:
    """Half the widths of two-sided intervals of Student's t, in standard errors, of the shape of the degrees."""
    from scipy.special import stdtrit  # a fifth of a second, for those who have claims

    return np.asarray(stdtrit(degrees, (1 + confidence) / 2))


def paired(differences: Sequence[float], confidence: float, size: float = 0.0) -> Estimate:
    """The mean of the differences of two or more pairs. Raises DataError for fewer.

    size: of the largest value of a pair, beside which a spread of their differences may be rounding.
    """
    if len(differences) < 2:
        raise DataError(f"an interval wants two pairs of trainings or more; there are {len(differences)}")
    spread = math.sqrt(variance(differences))
    error = spread / math.sqrt(len(differences))
    size = max(size, *map(abs, differences))
    return _interval(mean(differences), error, spread, float(len(differences) - 1), confidence, PAIRED, size)


def unpaired(of: Sequence[float], against: Sequence[float], confidence: float) -> Estimate:
    """The difference of the means of two arms of two or more trainings each, which may vary differently.

    Where one arm has more than twice as many as the other, the degrees of freedom are those of the smaller alone: by
    Satterthwaite's there would be more false findings than the confidence allows (benchmarks/verdicts.py). Raises
    DataError for fewer trainings.
    """
    if min(len(of), len(against)) < 2:
        raise DataError(f"an interval wants two trainings an arm or more; there are {len(of)} and {len(against)}")
    first, second = variance(of), variance(against)
    parts = first / len(of), second / len(against)
    error = math.sqrt(sum(parts))
    spread = math.sqrt((first + second) / 2)
    few = min(len(of), len(against))
    degrees = float(few - 1)
    if max(len(of), len(against)) <= 2 * few and error:
        shares = [part / sum(parts) for part in parts]  # of the error's square: no underflow for small values
        degrees = 1 / sum(s**2 / (n - 1) for s, n in zip(shares, (len(of), len(against)), strict=True))
    size = max(map(abs, [*of, *against]))
    return _interval(mean(of) - mean(against), error, spread, degrees, confidence, UNPAIRED, size)


def _interval(
    effect: float, error: float, spread: float, degrees: float, confidence: float, test: str, size: float
) -> Estimate:
    """size: of the largest value, beside which a spread is rounding."""
    constant = bool(spread <= EQUAL * size)
    half = 0.0 if constant else float(quantiles(np.asarray(degrees), confidence)) * error
    return Estimate(
        effect=effect,
        low=effect - half,
        high=effect + half,
        spread=spread,
        degrees=degrees,
        test=test,
        constant=constant,
    )
