"""Batches as pure functions of the step: which rows of the data a step sees, and batches made ahead of their steps."""

from collections.abc import Callable, Generator

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ablatent.core.ahead import made_ahead
from ablatent.core.ranks import BatchShard
from ablatent.core.rng import stream

Batch = dict[str, Tensor]
"""name → (b, …) tensor, a row a sample."""

BatchAt = Callable[[int, BatchShard], list[Batch]]
"""(step n, shard) -> the micro-batches of one rank, of the batch of step n: a pure function of its arguments."""


class Epochs:
    """The data rows of each step: consecutive places in an endless sequence of shuffled epochs.

    Epoch k has the rows in the order of the permutation that (seed, k) draws. That of one epoch is kept, in the
    smallest integers that hold it: to draw it takes time and memory in proportion to the data.

    rows: those that are trained on, int (n,), from 0 up.
    """

    def __init__(self, rows: np.ndarray, seed: int):
        self.rows, self.seed = rows, seed
        self._kept = -1, rows[:0]

    def __call__(self, step: int, batch_size: int) -> Int64[np.ndarray, " {batch_size}"]:
        """Those of step n (0 for the first)."""
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, within = np.divmod(places, len(self.rows))
        out = np.empty(batch_size, dtype=np.int64)
        for epoch in range(epochs[0], epochs[-1] + 1):
            chosen = epochs == epoch
            out[chosen] = self._order(epoch)[within[chosen]]
        return out

    def _order(self, epoch: int) -> np.ndarray:
        kept, order = self._kept
        if kept != epoch:
            order = self.rows.astype(np.min_scalar_type(self.rows.max()))
            stream(self.seed, "epoch", epoch).shuffle(order)
            self._kept = epoch, order
        return order


def ahead(
    batch_at: BatchAt, shard: BatchShard, steps: range, depth: int, device: torch.device
) -> Generator[list[Batch], None, None]:
    """The batch of each step in turn, made by a thread while up to `depth` steps before it are still computed.

    To be closed, see `made_ahead`. device: of the training; for one on a GPU batches come in pinned memory, from which
    they are copied while the device computes.
    """

    def made(step: int) -> list[Batch]:
        batches = batch_at(step, shard)
        if device.type != "cuda":
            return batches
        torch.cuda.set_device(device)  # of this thread: pinning would open a context on the first one
        return [{name: value.pin_memory() for name, value in batch.items()} for batch in batches]

    return made_ahead(made, steps, depth)
