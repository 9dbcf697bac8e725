"""Frechet Inception distance. Heusel et al. 2017, eq. 6: |mu1 - mu2|² + tr(S1 + S2 - 2 (S1 S2)^½)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float

from ablatent.core.errors import ConfigError
from ablatent.evaluation.frechet import FeatureMoments, Subsets
from ablatent.evaluation.intervals import GROUPS, JACKKNIFE, Groups, Interval, groups, jackknife, within
from ablatent.evaluation.scores import Metric, Score, counts, reference_of, small_sample_notes

SQUARE_ROOT = "symmetric, float64"


@dataclass(frozen=True)
class FID(Metric):
    """FID by the statistics that torch-fidelity takes, with a symmetric square root in float64 (see `frechet`).

    groups: the interval is that of a jackknife over so many parts of the samples, each of which takes the eigenvalues
    of a matrix as large as the features.
    """

    groups: Annotated[Groups | None, "parts of the jackknife of the interval; null: no interval"] = GROUPS

    neutral: ClassVar = {"groups": 20}

    def __post_init__(self) -> None:
        if self.groups is not None and self.groups < 5:
            raise ConfigError("evaluation.metrics.fid.groups", "null, or an integer >= 5", self.groups)

    @property
    def min_images(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        real = reference_of("fid", fake, real, self.min_images)
        moments = FeatureMoments.of(real)
        value = FeatureMoments.of(fake).distance(moments)
        interval = self.interval(value, fake, moments)
        score = fid_score(value, counts(fake, real), small_sample_notes(fake, real), interval)
        return {"fid": score}

    def interval(self, value: float, fake: Float[np.ndarray, "n d"], real: FeatureMoments) -> Interval | None:
        """Of the distance between these features and the real moments."""
        group = groups(len(fake), self.groups)
        if group is None:
            return None
        return within(jackknife(value, Subsets(fake, real).without_each(group)), 0)


def fid_score(value: float, protocol: dict[str, int], notes: list[str], interval: Interval | None) -> Score:
    """The score of a Fréchet distance. protocol: the counts of images."""
    return Score(
        value,
        None,
        {**protocol, "square_root": SQUARE_ROOT},
        notes,
        interval=interval,
        interval_by=JACKKNIFE if interval else "",
        label="FID",
        better="lower",
        shown_in="terminal",
    )
