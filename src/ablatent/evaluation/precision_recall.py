"""Precision (fakes inside the real manifold) and recall (reals inside the fake one). Kynkäänniemi et al. 2019."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count
from ablatent.evaluation.scores import Metric, Score, counts


@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """Improved precision and recall as torch-fidelity takes them: balls to the k-th neighbour.

    Memory is a few blocks of batch_size squared distances, for any number of images.
    """

    neighborhood: Annotated[Count, "k of the k-th nearest neighbour (Kynkäänniemi et al. 2019)"] = 3
    batch_size: Annotated[Count, "features compared at once"] = 4096

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
        precision, recall = self._inside(fake, real)
        protocol = counts(fake, real) | {"neighborhood": self.neighborhood}
        return {
            name: Score(float(inside.float().mean()), None, dict(protocol), label=name, better="higher")
            for name, inside in (("precision", precision), ("recall", recall))
        }

    def _inside(self, fake: np.ndarray, real: np.ndarray) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " m"]]:
        """(which fakes lie in a ball of a real one, which reals in one of a fake); each distance is taken once."""
        radii, real_radii = self._radii(fake), self._radii(real)
        in_real, in_fake = (torch.zeros(len(f), dtype=torch.bool) for f in (fake, real))
        for i, x in self._parts(fake):
            for j, y in self._parts(real):
                distances = torch.cdist(x, y)
                in_real[i] |= (distances <= real_radii[j]).any(dim=1)
                in_fake[j] |= (distances <= rearrange(radii[i], "n -> n 1")).any(dim=0)
        return in_real, in_fake

    def _radii(self, features: np.ndarray) -> Float[Tensor, " n"]:
        """The distance of each to its k-th neighbour: the (k + 1)-th smallest, itself included."""
        nearest = torch.full((len(features), self.neighborhood + 1), torch.inf)
        for i, x in self._parts(features):
            for j, y in self._parts(features):
                if j.start < i.start:
                    continue
                distances = torch.cdist(x, y)
                _keep_smallest(nearest, i, distances)
                if j != i:
                    _keep_smallest(nearest, j, distances.T)
        return nearest[:, -1]

    def _parts(self, features: np.ndarray) -> Iterator[tuple[slice, Float[Tensor, "n d"]]]:
        for first in range(0, len(features), self.batch_size):
            rows = slice(first, first + self.batch_size)
            yield rows, torch.tensor(features[rows])


def _keep_smallest(nearest: Float[Tensor, "n k"], rows: slice, distances: Float[Tensor, "r c"]) -> None:
    """Merge distances of these rows into the smallest that are known of each, ascending, in place."""
    k = nearest.shape[1]
    smallest = distances.topk(min(k, distances.shape[1]), largest=False).values
    nearest[rows] = torch.cat([nearest[rows], smallest], dim=1).topk(k, largest=False).values
