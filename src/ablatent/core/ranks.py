"""Several processes (ranks) that train one model: each one's part of a batch, and the collectives.

Batch sizes are those of the whole batch, whatever the number of ranks. Every function here is called by all ranks in
the same order, and changes nothing in a single process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

from ablatent.core.errors import ConfigError


@dataclass(frozen=True)
class BatchShard:
    """Which samples of every batch this process works on, and in how many micro-batches.

    A batch is dealt out like cards: of `parts` = ranks * grad_accum_steps parts, part p has the samples p, p + parts,
    p + 2 parts … So the first k images of a batch fall on all ranks alike.
    """

    rank: int = 0
    ranks: int = 1
    grad_accum_steps: int = 1

    @property
    def parts(self) -> int:
        """The number of micro-batches of a batch, over all ranks."""
        return self.ranks * self.grad_accum_steps

    def part(self, micro: int) -> int:
        """The number of this rank's micro-batch `micro` among all parts."""
        return micro * self.ranks + self.rank

    def places(self, batch_size: int) -> list[np.ndarray]:
        """For each micro-batch of this rank, the places of its samples in the batch, int64 (batch_size / parts,).

        Raises ConfigError where the parts would differ in size: a mean of their means would not be the batch's mean.
        """
        if batch_size % self.parts:
            raise ConfigError(
                "runtime.devices",
                "runtime.devices * runtime.grad_accum_steps that divides every training's batch size",
                f"{self.ranks} * {self.grad_accum_steps} for a batch of {batch_size}",
            )
        return [np.arange(self.part(micro), batch_size, self.parts) for micro in range(self.grad_accum_steps)]


def several_ranks() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def this_shard(grad_accum_steps: int = 1) -> BatchShard:
    """The shard of the calling process."""
    if not several_ranks():
        return BatchShard(grad_accum_steps=grad_accum_steps)
    return BatchShard(dist.get_rank(), dist.get_world_size(), grad_accum_steps)


def rank_device() -> torch.device:
    """The device of the tensors that collectives take: this rank's GPU, or the CPU."""
    on_gpu = several_ranks() and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def sum_over_ranks(t: Tensor) -> Tensor:
    """The sum of `t` over all ranks; `t` itself when there is one process."""
    if not several_ranks():
        return t
    t = t.detach().clone()
    dist.all_reduce(t)
    return t


def mean_over_ranks(t: Tensor) -> Tensor:
    """The mean of `t` over all ranks; `t` itself when there is one process."""
    return sum_over_ranks(t) / dist.get_world_size() if several_ranks() else t


def from_rank_zero(t: Tensor) -> Tensor:
    """Rank zero's `t` on every rank; `t` itself when there is one process."""
    if not several_ranks():
        return t
    t = t.detach().contiguous().clone()
    with torch.no_grad():
        dist.broadcast(t, src=0)
    return t


def whole_batch(micro: Sequence[Tensor]) -> Tensor:
    """From what each rank has of a batch, one (b, …) tensor a micro-batch, the whole (B, …) in the batch's order."""
    if len(micro) == 1 and not several_ranks():
        return micro[0].detach()
    own = torch.stack([t.detach() for t in micro]).contiguous()
    every = [own]
    if several_ranks():
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
    return rearrange(torch.stack(every), "rank micro b ... -> (b micro rank) ...")


@dataclass
class Sending:
    """Tensors on their way to all ranks, in one message. The tensors hold their own values until `wait`."""

    tensors: Sequence[Tensor]
    message: Tensor
    work: Any

    @torch.no_grad()
    def wait(self) -> None:
        """Replace each tensor by its mean over all ranks, in place."""
        self.work.wait()
        self.message /= dist.get_world_size()
        means = self.message.split([t.numel() for t in self.tensors])
        torch._foreach_copy_(list(self.tensors), [m.view_as(t) for m, t in zip(means, self.tensors, strict=True)])


@torch.no_grad()
def average_later(tensors: Sequence[Tensor]) -> Sending:
    """Begin to average tensors of one type over all ranks; there must be several. Nothing waits here."""
    message = torch.cat([t.reshape(-1) for t in tensors])
    return Sending(tensors, message, dist.all_reduce(message, async_op=True))
