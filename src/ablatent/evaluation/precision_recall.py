"""Precision (fakes inside the real manifold) and recall (reals inside the fake one). Kynkäänniemi et al. 2019."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count
from ablatent.evaluation.intervals import JACKKNIFE, WILSON, Interval, groups, jackknife, wilson, within
from ablatent.evaluation.neighbours import BLOCK, Nearest, by_group, parts, within_set
from ablatent.evaluation.scores import Metric, Score, counts

SPARE = 16
"""Neighbours beyond the k-th that are kept, for radii without a group of a jackknife."""


@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """Improved precision and recall as torch-fidelity takes them: balls to the k-th neighbour.

    Memory is a few blocks of batch_size squared distances, for any number of images. Intervals: against a fixed
    reference precision is a share of independent samples (Wilson); recall is that of the reference's images in balls of
    all samples, whose jackknife takes the balls anew without each group.
    """

    neighborhood: Annotated[Count, "k of the k-th nearest neighbour (Kynkäänniemi et al. 2019)"] = 3
    batch_size: Annotated[Count, "features compared at once"] = BLOCK

    def __post_init__(self) -> None:
        for name in ("neighborhood", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.metrics.precision_recall.{name}", "an integer >= 1", getattr(self, name))

    @property
    def min_images(self) -> int:
        return self.neighborhood + 1

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        least = self.min_images
        if real is None or min(len(fake), len(real)) < least:
            raise DataError(f"precision_recall: expected at least {least} images a set; got {counts(fake, real)}.")
        k, block = self.neighborhood, self.batch_size
        own, real_radii = within_set(fake, k + 1 + SPARE, block), within_set(real, k + 1, block).distances[:, k]
        balls = _Balls(own, k, groups(len(fake)))
        in_real, in_fake = (torch.zeros(len(f), dtype=torch.bool) for f in (fake, real))
        for j, y in parts(real, block):
            covered = balls.none(len(y))
            for i, x in parts(fake, block):  # each distance is taken once
                distances = torch.cdist(x, y)
                in_real[i] |= (distances <= real_radii[j]).any(dim=1)
                in_fake[j] |= (distances <= rearrange(balls.radii[i], "n -> n 1")).any(dim=0)
                balls.cover(covered, i, distances)
            balls.finish(covered)
        precision, recall = (float(inside.float().mean()) for inside in (in_real, in_fake))
        intervals = {"precision": wilson(precision, len(fake)), "recall": balls.interval(recall, len(real))}
        methods = {"precision": WILSON, "recall": JACKKNIFE}
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


class _Balls:
    """The balls around fakes up to their k-th neighbours, and the same without one group of the fakes each.

    A ball changes where one of its k neighbours is left out: it then reaches to the next one that is not. radii: (n,).
    """

    def __init__(self, own: Nearest, k: int, group: Int[np.ndarray, " n"] | None):
        self.radii = own.distances[:, k]
        self.group = None if group is None else torch.from_numpy(group)
        self.hits: list[float] = []
        if self.group is None:
            return
        self.number = int(self.group.max()) + 1
        self.hits = [0.0] * self.number
        of_neighbour = torch.where(own.indices >= 0, self.group[own.indices.clamp(min=0)], -1)
        # of each of the k + 1 nearest (n, k + 1): the group that is left out, none where that is the ball's own
        lost = of_neighbour[:, : k + 1]
        self.lost = torch.where(lost == rearrange(self.group, "n -> n 1"), -1, lost)
        kept = rearrange(of_neighbour, "n s -> n 1 s") != rearrange(lost, "n k -> n k 1")
        enough = kept & (kept.cumsum(dim=-1) >= k + 1) & torch.isfinite(rearrange(own.distances, "n s -> n 1 s"))
        furthest = torch.where(torch.isfinite(own.distances), own.distances, 0).amax(dim=1)
        far = torch.where(enough, rearrange(own.distances, "n s -> n 1 s"), torch.inf).amin(dim=-1)
        self.wider = torch.where(torch.isfinite(far), far, rearrange(furthest, "n -> n 1"))

    def none(self, columns: int) -> Float[Tensor, "two g m"]:
        """No fakes yet: for each group, of these reals, in how many of its balls and of the wider ones they are."""
        return torch.zeros(2, 0 if self.group is None else self.number, columns)

    def cover(self, covered: Float[Tensor, "two g m"], rows: slice, distances: Float[Tensor, "n m"]) -> None:
        """Count the balls of these fakes, from their distances to the reals."""
        if self.group is None:
            return
        inside = distances <= rearrange(self.radii[rows], "n -> n 1")
        covered[0] += by_group(inside, self.group[rows], self.number)
        for lost, wider in zip(self.lost[rows].T, self.wider[rows].T, strict=True):
            covered[1] += by_group(distances <= rearrange(wider, "n -> n 1"), lost, self.number)

    def finish(self, covered: Float[Tensor, "two g m"]) -> None:
        """Note how many of these reals are covered without each group."""
        if self.group is None:
            return
        others = covered[0].sum(dim=0, keepdim=True) - covered[0]
        for g, hits in enumerate(((others + covered[1]) > 0).sum(dim=1).tolist()):
            self.hits[g] += hits

    def interval(self, recall: float, reals: int) -> Interval | None:
        """Of the share of covered reals."""
        return within(jackknife(recall, [hits / reals for hits in self.hits]), 0, 1) if self.hits else None
