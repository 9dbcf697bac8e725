"""95 % intervals of scores over the samples: what other samples of the same model would have given. numpy and scipy.

An interval is conditional: the training, the reference and the conditions are as they are. What another training would
have given is a matter of several seeds, which a report takes over jobs.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Float, Int

from ablatent.core.fields import Number
from ablatent.core.rng import stream

LEVEL = 0.95
GROUPS = 20
"""Of a jackknife, where there are enough images."""
MIN_IMAGES = 10
"""Of fewer samples no interval is given."""
Interval = tuple[float, float]
Groups = Annotated[int, Ge(5)]
"""Of a jackknife: fewer say little about its error."""

WILSON = "Wilson score"
STUDENT = "Student's t over images"
JACKKNIFE = "delete-a-group jackknife over samples"
HALVES = "random halves of the samples"
SPLITS = 10
"""Of the samples into two halves, each a random one."""


def wilson(share: float, n: int) -> Interval:
    """The interval of a share of n independent trials (Wilson 1927), in [0, 1]; wider than 0 also at 0 and 1."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle, half = (share + z**2 / (2 * n)) / (1 + z**2 / n), wilson_half_width(share, n)
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def wilson_half_width(share: float, n: int) -> float:
    """Half of the width of `wilson`."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))


def of_mean(values: Float[np.ndarray, " n"], per_image: int = 1) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than 2 of them.

    per_image: values that belong together, in a row: their mean counts as one.
    """
    parts = np.asarray(values, dtype=np.float64).reshape(-1, per_image).mean(axis=1)
    if len(parts) < 2:
        return None
    return around(float(parts.mean()), float(parts.std(ddof=1)) / math.sqrt(len(parts)), len(parts) - 1)


def around(value: float, error: float, freedom: int) -> Interval:
    """The interval of a value with this standard error, by Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit  # as scipy.stats.t.ppf, whose import takes half a second more

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return value - half, value + half


def groups(n: int, wanted: int | None = GROUPS) -> Int[np.ndarray, " n"] | None:
    """The group of each of n samples, for a jackknife: of equal size up to one, by a fixed shuffle, since samples may
    take the classes in turn. At most `wanted` groups, of two samples or more; None for fewer than MIN_IMAGES samples,
    or where no groups are wanted."""
    if wanted is None or n < MIN_IMAGES:
        return None
    return np.asarray(stream(0, "jackknife").permutation(n) % min(wanted, n // 2))


def jackknife(value: float, left_out: Sequence[float] | Float[np.ndarray, " g"]) -> Interval | None:
    """The interval of a score from its values without one group each (Kott 2001, "The delete-a-group jackknife").

    Never too narrow in expectation for symmetric statistics (Efron and Stein 1981), so wide where they are near the
    least value that they can have. None where no group makes a difference: a coverage of 0, say, for which the
    jackknife knows no bound.
    """
    error = jackknife_error(left_out)
    return around(value, error, len(left_out) - 1) if error > 0 else None


def jackknife_error(left_out: Sequence[float] | Float[np.ndarray, " g"]) -> float:
    """The standard error of a score from its values without one group each."""
    values = np.asarray(left_out, dtype=np.float64)
    return math.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum())


def halvings(n: int, least: int = 1) -> Int[np.ndarray, "s n"] | None:
    """For each of SPLITS random splits of n samples, in which half (0 or 1) each is; halves differ by one at most. None
    for fewer than MIN_IMAGES samples, and where a half would have fewer than `least`."""
    if n < max(MIN_IMAGES, 2 * least):
        return None
    rng = stream(0, "halves")
    return np.stack([rng.permutation(n) % 2 for _ in range(SPLITS)])


def of_halves(value: float, halves: Float[np.ndarray, "s two"]) -> Interval | None:
    """The interval of a score from its values over both halves of random splits of the samples.

    Two halves are independent sets: their differences tell, without bias, the variance of the score over sets of n / 2
    samples, whatever it does with the distances among them. It is taken for that over sets of n, which is no larger for
    a score that settles as n grows. So the interval is too wide, not too narrow, and has the quantiles of the normal
    distribution, not of few degrees of freedom. None where no half differs from its other.
    """
    error = math.sqrt(float(np.square(halves[:, 0] - halves[:, 1]).mean()) / 2)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    return (value - half, value + half) if error > 0 else None


def within(interval: Interval | None, least: Number, largest: Number = math.inf) -> Interval | None:
    """An interval cut to the range that its score can have."""
    return None if interval is None else (float(max(interval[0], least)), float(min(interval[1], largest)))
