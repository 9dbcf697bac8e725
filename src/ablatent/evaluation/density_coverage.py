"""Density and coverage. Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models"."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from ablatent.core.fields import Count
from ablatent.evaluation.intervals import JACKKNIFE, STUDENT, Interval, groups, jackknife, of_mean, within
from ablatent.evaluation.neighbours import BLOCK, by_group, parts, within_set
from ablatent.evaluation.scores import Metric, Score, check_knobs, counts, reference_of


@dataclass(frozen=True)
class DensityCoverage(Metric):
    """Density: in how many balls of real images a sample is, over k, in the mean; coverage: the share of these balls
    that have a sample in them. A ball reaches up to the k-th real neighbour, which is outside, as in the authors' prdc.

    Density may be above 1. Unlike recall, coverage takes no balls of samples, which outliers blow up.
    """

    neighborhood: Annotated[Count, "k of the k-th nearest neighbour (Naeem et al. 2020)"] = 5
    batch_size: Annotated[Count, "features compared at once"] = BLOCK

    def __post_init__(self) -> None:
        check_knobs("density_coverage", neighborhood=self.neighborhood, batch_size=self.batch_size)

    @property
    def min_images(self) -> int:
        return self.neighborhood + 1

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        real = reference_of("density_coverage", fake, real, self.min_images)
        group = groups(len(fake))
        of_fake = torch.zeros(len(fake), dtype=torch.int64) if group is None else torch.from_numpy(group)
        number = int(of_fake.max()) + 1
        radii = within_set(real, self.neighborhood + 1, self.batch_size).distances[:, self.neighborhood]
        balls, covered, left_out = np.zeros(len(fake)), 0, np.zeros(number)
        for j, y in parts(real, self.batch_size):
            found = torch.zeros(number, len(y))  # samples of each group in each ball
            for i, x in parts(fake, self.batch_size):
                inside = torch.cdist(x, y) < rearrange(radii[j], "m -> 1 m")
                balls[i] += inside.sum(dim=1).numpy()
                found += by_group(inside, of_fake[i], number)
            total = found.sum(dim=0)
            covered += int((total > 0).sum())
            left_out += ((total - found) > 0).sum(dim=1).numpy()
        density, coverage = float(balls.mean() / self.neighborhood), covered / len(real)
        spread: dict[str, tuple[Interval | None, str]] = {
            "density": (within(of_mean(balls / self.neighborhood), 0), STUDENT),
            "coverage": (None if group is None else within(jackknife(coverage, left_out / len(real)), 0, 1), JACKKNIFE),
        }
        protocol = counts(fake, real) | {"neighborhood": self.neighborhood}
        return {
            name: Score(
                value,
                None,
                dict(protocol),
                interval=spread[name][0],
                interval_by=spread[name][1],
                label=name,
                better="higher",
            )
            for name, value in (("density", density), ("coverage", coverage))
        }
