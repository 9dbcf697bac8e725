"""Parameters that are spread over ranks (FSDP2), and whole ones, handled alike.

DTensors are imported where there are several ranks alone: a single process has none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablatent.core.ranks import several_ranks, this_shard


def shard(networks: Iterable[nn.Module], mesh: Any) -> None:
    """Spread each network over the ranks of a device mesh, in place: block by block, the rest with the network."""
    from torch.distributed.fsdp import fully_shard

    for network in networks:
        network.to(memory_format=torch.contiguous_format)  # FSDP takes no other
        for block in repeated_blocks(network):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        fully_shard(network, mesh=mesh, reshard_after_forward=True)


def repeated_blocks(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    """The repeated parts of a network: what stands in its innermost lists and has parameters."""
    for child in module.children():
        is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
        inner = list(repeated_blocks(child, is_list))
        alone = listed and not is_list and next(child.parameters(), None) is not None
        yield from inner or ([child] if alone else [])


def is_spread(t: Any) -> bool:
    """Whether this rank holds only a piece of a tensor."""
    if not several_ranks():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(t, DTensor)


def local(t: Tensor) -> Tensor:
    """This rank's piece of a tensor, sharing its memory."""
    piece: Tensor = t.to_local() if is_spread(t) else t  # type: ignore[attr-defined]
    return piece


def pieces(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This rank's pieces of many tensors, sharing their memory."""
    return [local(t) for t in tensors] if several_ranks() else list(tensors)


def placed_like(t: Tensor, like: Tensor) -> Tensor:
    """`t` on the device of `like`, and spread over the ranks as it is; every rank holds the same whole `t`."""
    if several_ranks():
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(like, DTensor) and not isinstance(t, DTensor):
            return distribute_tensor(t.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return t if t.device == like.device else t.to(like.device)


def whole(t: Tensor) -> Tensor:
    """A tensor put together on every rank; called by all of them."""
    full: Tensor = t.full_tensor() if is_spread(t) else t  # type: ignore[attr-defined]
    return full


def gathered(tree: Any) -> Any:
    """The same nested dicts and lists with every spread tensor whole in the first rank's CPU memory; called by all
    ranks, of which the others get empty ones."""
    if is_spread(tree):
        full = whole(tree)
        return full.cpu() if this_shard().rank == 0 else full.new_empty(0, device="cpu")
    if isinstance(tree, Mapping):
        return {key: gathered(value) for key, value in tree.items()}
    return [gathered(value) for value in tree] if isinstance(tree, list) else tree


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], limit: float | None, scale: Tensor | None = None) -> Tensor:
    """Scale all gradients so that their common norm is at most `limit` (None for any); returns the norm before.

    scale: by which the gradients are enlarged, as a tensor beside them; norm and limit are of those that are not.
    Nothing is read from the device.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    groups = [group for group in _apart(grads) if group]
    norms = [whole(torch.nn.utils.get_total_norm(group)) for group in groups]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    if limit is not None:
        longest = limit if scale is None else limit * scale
        torch._foreach_mul_(pieces(g for group in groups for g in group), (longest / (norm + 1e-6)).clamp(max=1.0))
    return norm if scale is None else norm / scale


def groups_of(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]] | list[nn.Parameter]:
    """Parameters for an optimiser: spread and whole ones in groups of their own, since no kernel takes both."""
    spread, copied = _apart(list(parameters))
    return [{"params": spread}, {"params": copied}] if spread and copied else list(parameters)


def _apart(tensors: list[Any]) -> tuple[list[Any], list[Any]]:
    """The spread ones, and those that every rank has whole."""
    if not several_ranks():
        return [], tensors
    return [t for t in tensors if is_spread(t)], [t for t in tensors if not is_spread(t)]


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict with whole tensors and one group: the same whatever the ranks, so that any number resumes it."""
    state = gathered(optimizer.state_dict())
    first, *others = state["param_groups"]
    return {**state, "param_groups": [{**first, "params": sum((g["params"] for g in others), first["params"])}]}


LOOPS = ("fused", "foreach", "capturable", "differentiable")
"""Arguments of torch's optimisers that choose how this process computes, not what."""


@torch.no_grad()
def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Takes what `optimizer_state` gave, of an optimiser over the same parameters in the same order."""
    (options,) = state["param_groups"]
    groups, taken = [], 0
    for group in optimizer.param_groups:
        own = {name: group[name] for name in LOOPS if name in group}
        groups.append({**options, **own, "params": options["params"][taken : taken + len(group["params"])]})
        taken += len(group["params"])
    optimizer.load_state_dict({**state, "param_groups": groups})
    for p, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and name != "step" and value.shape == p.shape:
                # laid out in memory as the parameter: fused optimisers go through both from end to end
                values[name] = torch.empty_like(p).copy_(placed_like(value, p))
