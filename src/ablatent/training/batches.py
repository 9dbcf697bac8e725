"""Batches as pure functions of the step: which rows of the data a step sees."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from ablatent.core.ranks import BatchShard
from ablatent.core.rng import stream

Batch = dict[str, Tensor]
"""name → (b, …) tensor, a row a sample."""

BatchAt = Callable[[int, BatchShard], list[Batch]]
"""(step n, shard) -> the micro-batches of one rank, of the batch of step n: a pure function of its arguments."""


def epoch_rows(rows: np.ndarray, seed: int, step: int, batch_size: int) -> np.ndarray:
    """The data rows of step n, int64 (batch_size,): consecutive places in an endless sequence of shuffled epochs."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, len(rows))
    out = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = stream(seed, "epoch", int(epoch)).permutation(len(rows))
        chosen = epochs == epoch
        out[chosen] = rows[order[within[chosen]]]
    return out
