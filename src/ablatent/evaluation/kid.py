"""Kernel Inception distance: unbiased squared MMD, cubic kernel. Binkowski et al. 2018, "Demystifying MMD GANs"."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Positive, Seed
from ablatent.evaluation.intervals import MIN_IMAGES, around
from ablatent.evaluation.scores import Metric, Score, counts, reference_of

DELETE_ONE = "delete-one jackknife over samples, in their subsets"


@dataclass(frozen=True)
class KID(Metric):
    """KID as torch-fidelity has it: mean and deviation over subsets, kernel (gamma x·y + coef0)^degree; no gamma: 1/d.

    subset_size is an upper bound: with n images (of the smaller set) subsets have min(subset_size, n // 2), which the
    protocol states. The value may be slightly negative. Score.std is the deviation of the subsets' values: that of KID
    at their size, not the error of the mean, which the interval tells.
    """

    subsets: Annotated[Count, "random subsets"] = 100
    subset_size: Annotated[int, Ge(2), "images of a subset"] = 1000
    degree: Annotated[Count, "of the polynomial kernel"] = 3
    gamma: Annotated[Positive | None, "of the kernel; null: 1 / features"] = None
    coef0: Annotated[float, "of the kernel"] = 1.0
    seed: Annotated[Seed, "of the subsets"] = 2020

    unbiased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("subsets", 1), ("subset_size", 2), ("degree", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"evaluation.metrics.kid.{name}", f"an integer >= {least}", getattr(self, name))

    @property
    def min_images(self) -> int:
        return 4

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        real = reference_of("kid", fake, real, self.min_images)
        size = min(self.subset_size, min(len(fake), len(real)) // 2)
        values, changes = self._values(fake, real, size)
        protocol: dict[str, Any] = counts(fake, real) | {
            "subsets": self.subsets,
            "subset_size": size,
            "seed": self.seed,
        }
        protocol |= {"kernel": f"poly degree {self.degree}, gamma {self.gamma or '1/d'}, coef0 {self.coef0}"}
        notes = []
        if size < self.subset_size:
            notes.append(
                f"subsets of {size} images, not {self.subset_size}: too few images; compare with equal sizes only"
            )
        mean, std, interval = float(np.mean(values)), float(np.std(values)), None
        if len(fake) >= MIN_IMAGES and size > 2:
            error = float(np.sqrt((size - 1) / size * np.square(changes).sum()))
            interval = around(mean, error, len(fake) - 1)
        return {
            "kid": Score(
                mean,
                std,
                protocol,
                notes,
                interval=interval,
                interval_by=DELETE_ONE,
                label="KID",
                better="lower",
                shown_in="terminal",
            )
        }

    def _values(self, fake: np.ndarray, real: np.ndarray, size: int) -> tuple[list[float], Float[np.ndarray, " n"]]:
        """(KID of each subset, the change of their mean where one fake is left out of the subsets that it is in).

        A U-statistic without one of its samples follows from the sums over that sample's pairs; these changes add up to
        0, and the jackknife's variance of the mean is (size - 1) / size times the sum of their squares.
        """
        rng = np.random.RandomState(self.seed)
        values, changes = [], np.zeros(len(fake))
        for _ in range(self.subsets):
            rows, real_rows = (rng.choice(len(f), size, replace=False) for f in (fake, real))
            x, y = fake[rows], real[real_rows]
            within = [self._kernel(f @ f.T, f.shape[1]) for f in (x, y)]
            itself = [self._kernel(np.square(f).sum(axis=1), f.shape[1]) for f in (x, y)]
            between = self._kernel(x @ y.T, x.shape[1])
            sums = [_sum(pairs) - _sum(one) for pairs, one in zip(within, itself, strict=True)]
            across = _sum(between)
            values.append(sum(sums) / (size * (size - 1)) - 2 * across / size**2)
            if size > 2:
                own = (within[0].sum(dim=1, dtype=torch.float64) - itself[0]).numpy()
                other = between.sum(dim=1, dtype=torch.float64).numpy()
                left = (sums[0] - 2 * own) / ((size - 1) * (size - 2)) - 2 * (across - other) / ((size - 1) * size)
                changes[rows] += left - (sums[0] / (size * (size - 1)) - 2 * across / size**2)
        return values, changes / self.subsets

    def _kernel(self, products: np.ndarray, dim: int) -> Tensor:
        """The kernel of these inner products, which it overwrites."""
        gamma = 1 / dim if self.gamma is None else self.gamma
        return torch.from_numpy(products).mul_(gamma).add_(self.coef0).pow_(self.degree)


def _sum(kernel: Tensor) -> float:
    """In float64."""
    return float(kernel.sum(dtype=torch.float64))
