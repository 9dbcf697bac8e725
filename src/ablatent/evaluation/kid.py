"""Kernel Inception distance: unbiased squared MMD, cubic kernel. Binkowski et al. 2018, "Demystifying MMD GANs"."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, Positive, Seed
from ablatent.evaluation.scores import Metric, Score, counts


@dataclass(frozen=True)
class KID(Metric):
    """KID as torch-fidelity has it: mean and deviation over subsets, kernel (gamma x·y + coef0)^degree; no gamma: 1/d.

    subset_size is an upper bound: with n images (of the smaller set) subsets have min(subset_size, n // 2), which the
    protocol states. The value may be slightly negative.
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
        if real is None or min(len(fake), len(real)) < self.min_images:
            raise DataError(f"kid: expected at least {self.min_images} images a set; got {counts(fake, real)}.")
        size = min(self.subset_size, min(len(fake), len(real)) // 2)
        rng = np.random.RandomState(self.seed)
        values = []
        for _ in range(self.subsets):
            x, y = (f[rng.choice(len(f), size, replace=False)] for f in (fake, real))
            within = (self._kernel_sum(f, f) - self._kernel_sum_of_each_with_itself(f) for f in (x, y))
            values.append(sum(within) / (size * (size - 1)) - 2 * self._kernel_sum(x, y) / size**2)
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
        mean, std = float(np.mean(values)), float(np.std(values))
        return {"kid": Score(mean, std, protocol, notes, label="KID", better="lower", shown_in="terminal")}

    def _kernel_sum(self, x: np.ndarray, y: np.ndarray) -> float:
        return self._kernel(x @ y.T, x.shape[1])

    def _kernel_sum_of_each_with_itself(self, x: np.ndarray) -> float:
        return self._kernel(np.square(x).sum(axis=1), x.shape[1])

    def _kernel(self, products: np.ndarray, dim: int) -> float:
        """The sum in float64 of the kernel of these inner products, which it overwrites."""
        gamma = 1 / dim if self.gamma is None else self.gamma
        kernel = torch.from_numpy(products).mul_(gamma).add_(self.coef0).pow_(self.degree)
        return float(kernel.sum(dtype=torch.float64))
