"""Statistics of interleaved times: quartiles, ratios of pairs, and whether a change is more than noise."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """Of the values of one side: median and quartiles."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of pairs, with a 95 % bootstrap interval; of one pair, its ratio alone."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Of values in any unit."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high), len(values))


def paired_ratio(ours: list[float], others: list[float]) -> Ratio:
    """Of ours[i] / others[i]: the two of a pair were taken one after the other, so what slows the machine for a while
    slows both. The interval is that of the median over resampled pairs (percentiles; the seed is fixed)."""
    if len(ours) != len(others) or not ours:
        raise ValueError(f"expected pairs; got {len(ours)} and {len(others)} values")
    ratios = np.asarray(ours, dtype=np.float64) / np.asarray(others, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def beyond_noise(
    now: tuple[float, float, float], before: tuple[float, float, float], least: float = 0.03
) -> float | None:
    """The relative change of a value since before where it is more than noise, else None.

    now, before: (value, low, high). A change is noise where the intervals meet, and where it is smaller than `least`.
    """
    change = now[0] / before[0] - 1
    apart = now[1] > before[2] or now[2] < before[1]
    return change if apart and abs(change) >= least else None
