"""Nearest neighbours among features, block by block: memory is a few blocks of distances, for any number of images."""

from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 4096
"""Rows of a block of distances."""


def parts(features: np.ndarray, block: int = BLOCK) -> Iterator[tuple[slice, Float[Tensor, "n d"]]]:
    """(which rows, their features) of each block, as they come."""
    for first in range(0, len(features), block):
        rows = slice(first, first + block)
        yield rows, torch.tensor(features[rows])


class Nearest:
    """The k smallest distances of each of n rows, ascending, and whose they are; filled block by block.

    distances: (n, k), infinite where fewer are known; indices: (n, k), -1 there.
    """

    def __init__(self, n: int, k: int):
        self.distances = torch.full((n, k), torch.inf)
        self.indices = torch.full((n, k), -1)

    def take(self, rows: slice, distances: Float[Tensor, "r c"], first: int) -> None:
        """Merge the distances of these rows to columns first and after it."""
        k = self.distances.shape[1]
        found = distances.topk(min(k, distances.shape[1]), largest=False)
        both = torch.cat([self.distances[rows], found.values], dim=1)
        which = torch.cat([self.indices[rows], found.indices + first], dim=1)
        best = both.topk(k, largest=False)
        self.distances[rows], self.indices[rows] = best.values, which.gather(1, best.indices)


def within_set(features: Float[np.ndarray, "n d"], k: int, block: int = BLOCK) -> Nearest:
    """The k nearest of each row among all rows, itself included; each distance is taken once."""
    nearest = Nearest(len(features), k)
    for i, x in parts(features, block):
        for j, y in parts(features, block):
            if j.start < i.start:
                continue
            distances = torch.cdist(x, y)
            nearest.take(i, distances, j.start)
            if j != i:
                nearest.take(j, distances.T, i.start)
    return nearest


def across_sets(
    features: Float[np.ndarray, "n d"], others: Float[np.ndarray, "m d"], k: int = 1, block: int = BLOCK
) -> Nearest:
    """The k nearest of each row among the rows of another set."""
    nearest = Nearest(len(features), k)
    for i, x in parts(features, block):
        for j, y in parts(others, block):
            nearest.take(i, torch.cdist(x, y), j.start)
    return nearest


def by_group(inside: Tensor, group: Int[Tensor, " n"], number: int) -> Float[Tensor, "g m"]:
    """How many rows of each group are true, in each column; group: of each row, a negative one for none."""
    member = rearrange(group, "n -> 1 n") == rearrange(torch.arange(number), "g -> g 1")
    return member.float() @ inside.float()
