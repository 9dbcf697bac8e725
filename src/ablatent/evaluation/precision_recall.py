"""Precision (fakes inside the real manifold) and recall (reals inside the fake one). Kynkäänniemi et al. 2019."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from ablatent.core.fields import Count
from ablatent.evaluation.intervals import HALVES, WILSON, Interval, halvings, of_halves, wilson, within
from ablatent.evaluation.neighbours import BLOCK, Nearest, by_group, parts, within_set
from ablatent.evaluation.scores import Metric, Score, check_knobs, counts, reference_of

SPARE = 16
"""Neighbours beyond the 2k-th that are kept: among 2k + 16 of them more than k are of the same half, nearly always."""


@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """Improved precision and recall as torch-fidelity takes them: balls to the k-th neighbour.

    Memory is a few blocks of batch_size squared distances, for any number of images. Intervals: against a fixed
    reference precision is a share of independent samples (Wilson); recall is that of the reference's images in balls of
    all samples, each reaching to other samples, so that its spread is taken from halves, whose balls are their own.
    """

    neighborhood: Annotated[Count, "k of the k-th nearest neighbour (Kynkäänniemi et al. 2019)"] = 3
    batch_size: Annotated[Count, "features compared at once"] = BLOCK

    def __post_init__(self) -> None:
        check_knobs("precision_recall", neighborhood=self.neighborhood, batch_size=self.batch_size)

    @property
    def min_images(self) -> int:
        return self.neighborhood + 1

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        real = reference_of("precision_recall", fake, real, self.min_images)
        k, block = self.neighborhood, self.batch_size
        own, real_radii = within_set(fake, 2 * k + 1 + SPARE, block), within_set(real, k + 1, block).distances[:, k]
        radii, halves = own.distances[:, k], _Halves(own, k, halvings(len(fake), k + 1))
        in_real, in_fake = (torch.zeros(len(f), dtype=torch.bool) for f in (fake, real))
        for j, y in parts(real, block):
            covered = halves.none(len(y))
            for i, x in parts(fake, block):  # each distance is taken once
                distances = torch.cdist(x, y)
                in_real[i] |= (distances <= real_radii[j]).any(dim=1)
                in_fake[j] |= (distances <= rearrange(radii[i], "n -> n 1")).any(dim=0)
                halves.cover(covered, i, distances)
            halves.finish(covered)
        precision, recall = (float(inside.float().mean()) for inside in (in_real, in_fake))
        intervals = {"precision": wilson(precision, len(fake)), "recall": halves.interval(recall, len(real))}
        methods = {"precision": WILSON, "recall": HALVES}
        protocol = counts(fake, real) | {"neighborhood": self.neighborhood}
        return {
            name: Score(
                value,
                None,
                dict(protocol),
                interval=intervals[name],
                interval_by=methods[name],
                label=name,
                better="higher",
            )
            for name, value in (("precision", precision), ("recall", recall))
        }


class _Halves:
    """Recall by one half of the fakes, for both halves of each of some random splits: balls reach to the k-th neighbour
    within the half. own: the nearest neighbours of each fake, of which enough are of its half."""

    def __init__(self, own: Nearest, k: int, half: Int[np.ndarray, "s n"] | None):
        self.half = torch.zeros(0, len(own.indices), dtype=torch.int64) if half is None else torch.from_numpy(half)
        self.hits = np.zeros((len(self.half), 2))
        known = torch.isfinite(own.distances)
        furthest = torch.where(known, own.distances, 0).amax(dim=1)
        radii = []
        for half_of in self.half:
            mine = known & (half_of[own.indices.clamp(min=0)] == rearrange(half_of, "n -> n 1"))
            radius = torch.where(mine & (mine.cumsum(dim=1) > k), own.distances, torch.inf).amin(dim=1)
            radii.append(torch.where(torch.isfinite(radius), radius, furthest))
        self.radii = radii

    def none(self, columns: int) -> Float[Tensor, "s two m"]:
        """No fakes yet: of each half of each split, in how many of its balls these reals are."""
        return torch.zeros(len(self.half), 2, columns)

    def cover(self, covered: Float[Tensor, "s two m"], rows: slice, distances: Float[Tensor, "n m"]) -> None:
        """Count the balls of these fakes, from their distances to the reals."""
        for count, half, radii in zip(covered, self.half, self.radii, strict=True):
            count += by_group(distances <= rearrange(radii[rows], "n -> n 1"), half[rows], 2)

    def finish(self, covered: Float[Tensor, "s two m"]) -> None:
        """Note how many of these reals each half covers."""
        self.hits += (covered > 0).sum(dim=-1).numpy()

    def interval(self, recall: float, reals: int) -> Interval | None:
        """Of the share of covered reals."""
        return within(of_halves(recall, self.hits / reals), 0, 1) if len(self.hits) else None
