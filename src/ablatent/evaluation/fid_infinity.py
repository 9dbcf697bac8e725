"""FID without the bias of few samples. Chong and Forsyth 2020, "Effectively Unbiased FID and Inception Score"."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Float

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Seed
from ablatent.core.progress import track
from ablatent.core.rng import stream
from ablatent.evaluation.fid import SQUARE_ROOT
from ablatent.evaluation.frechet import FeatureMoments, Subsets
from ablatent.evaluation.intervals import GROUPS, Groups, Interval, around, groups, jackknife_error
from ablatent.evaluation.scores import Metric, Score, counts

PARTS = 8
"""The most parts that the samples are divided into."""
SIZES = 3
"""The least number of sizes through which a line is put."""
REMARK = (
    "∞: extrapolated to infinitely many samples, by a line in 1 / N. The bias of a small reference is in it as it is "
    "in FID; compare with the same reference only."
)


@dataclass(frozen=True)
class FIDInfinity(Metric):
    """FID of parts of the samples, of N / 1, N / 2, … of them, on a straight line in 1 / size, extrapolated to 0.

    Each size takes all samples: the mean over the parts of a seeded shuffle, which has the expectation of the authors'
    one random subset a size, and less noise. smallest: of the sizes; the line is straight only where sizes are above
    the number of features (the authors take 5,000 for 2,048). The interval has two parts: the jackknife of FID over the
    samples, which moves the line up and down, and the error of the intercept by its residuals.
    """

    smallest: Annotated[int, Ge(2), "samples of the smallest part: 2.5 times the features, or more"] = 5000
    groups: Annotated[Groups | None, "parts of the jackknife of the interval; null: no interval"] = GROUPS
    seed: Annotated[Seed, "of the shuffle"] = 2020

    def __post_init__(self) -> None:
        if self.smallest < 2:
            raise ConfigError("evaluation.metrics.fid_infinity.smallest", "an integer >= 2", self.smallest)
        if self.groups is not None and self.groups < 5:
            raise ConfigError("evaluation.metrics.fid_infinity.groups", "null, or an integer >= 5", self.groups)

    @property
    def min_images(self) -> int:
        return SIZES * self.smallest

    @property
    def min_real(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        if real is None or len(fake) < self.min_images or len(real) < self.min_real:
            raise DataError(
                f"fid_infinity: expected at least {self.min_images} samples, {SIZES} times `smallest`, and "
                f"{self.min_real} real images; got {counts(fake, real)}. Draw more samples, or lower `smallest`."
            )
        subsets, n = Subsets(fake, FeatureMoments.of(real)), len(fake)
        sizes, values = self._line(subsets, n)
        inverse = 1 / np.array(sizes)
        centred = inverse - inverse.mean()
        slope = float(centred @ values / (centred @ centred))
        value = float(values.mean() - slope * inverse.mean())
        residuals = values - value - slope * inverse
        scatter = float(residuals @ residuals) / (len(sizes) - 2)
        error = math.sqrt(scatter * (1 / len(sizes) + inverse.mean() ** 2 / float(centred @ centred)))
        interval: Interval | None = None
        if (group := groups(n, self.groups)) is not None:
            error = math.hypot(error, jackknife_error(subsets.without_each(group)))
            interval = around(value, error, int(group.max()))
        notes = []
        if sizes[-1] <= fake.shape[1]:
            notes.append(
                f"parts of {sizes[-1]} samples for {fake.shape[1]} feature dimensions: the line is not straight there"
            )
        protocol = counts(fake, real) | {
            "square_root": SQUARE_ROOT,
            "sizes": sizes,
            "smallest": self.smallest,
            "seed": self.seed,
        }
        score = Score(
            value,
            None,
            protocol,
            notes,
            interval=interval,
            interval_by="jackknife of FID over samples, and the residuals of the line",
            label="FID∞",
            better="lower",
            remark=REMARK,
        )
        return {"fid_inf": score}

    def _line(self, subsets: Subsets, n: int) -> tuple[list[int], Float[np.ndarray, " s"]]:
        """(sizes, descending; the mean FID of the parts of each size)."""
        order = stream(self.seed, "fid infinity").permutation(n)
        numbers = range(1, min(PARTS, n // self.smallest) + 1)
        values = []
        with track("FID of parts of the samples", sum(numbers), "parts") as bar:
            for number in numbers:
                found = []
                for part in np.split(order[: n // number * number], number):
                    found.append(subsets.distance(np.sort(part)))
                    bar.advance()
                values.append(float(np.mean(found)))
        return [n // number for number in numbers], np.array(values)
