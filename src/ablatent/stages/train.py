"""Shared parts of the stages that train: initial weights, optimisers, the training itself, and weights on disk."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ablatent.core.rng import stream
from ablatent.core.targets import TARGET, class_of
from ablatent.core.tensor_files import write_tensors
from ablatent.core.validation import check_targets
from ablatent.stages.context import Context
from ablatent.training.sharded import LOOPS

if TYPE_CHECKING:
    from ablatent.training.batches import BatchAt
    from ablatent.training.trainee import Trainee


def seed_initial_weights(seed: int) -> None:
    """Seed torch's generator for the initial weights of a network, as a function of the stage's seed."""
    torch.manual_seed(int(stream(seed, "initial weights").integers(2**31)))


def optimizer_factory(node: Mapping[str, Any]) -> "partial[Optimizer]":
    """An optimizer node (`_target_` and its arguments) as a function of the parameters."""
    check_targets(node, Optimizer)
    kind: Callable[..., Any] = class_of(node)
    arguments = {k: v for k, v in node.items() if k != TARGET}
    # Adagrad has it on CPUs alone in older releases of torch.
    fusable = "fused" in signature(kind).parameters and kind is not torch.optim.Adagrad
    if fusable and not set(LOOPS) & set(arguments):
        arguments["fused"] = True  # one pass over all numbers, and nothing that the host reads: see docs/performance.md
    return partial(kind, **arguments)


def check_optimizer(node: Mapping[str, Any]) -> None:
    """Make an optimizer of one parameter. Raises what its class raises for arguments that it does not take.

    Its own way of adding parameters is left out: the first call of that imports torch's compiler, for a second.
    """
    factory = optimizer_factory(node)
    trial: Callable[..., Any] = type("Trial", (class_of(node),), {"add_param_group": _add_plainly})
    trial([torch.nn.Parameter(torch.zeros(1))], **factory.keywords)


def _add_plainly(optimizer: Optimizer, group: dict[str, Any]) -> None:
    optimizer.param_groups.append({**optimizer.defaults, **group})


def train(ctx: Context, trainee: "Trainee", batch_at: "BatchAt") -> None:
    """Train to the end within a stage's build, from its checkpoint where there is one; see `fit`."""
    from ablatent.training.loop import fit

    fit(trainee, batch_at, ctx.work, ctx.recorder(), ctx.compute, ctx.title)


def save_weights(ctx: Context, state: Mapping[str, Tensor]) -> None:
    """Write model.safetensors of a state dict of whole (not sharded) tensors, on any device."""
    own = {name: v.detach().cpu().contiguous() for name, v in state.items()}
    write_tensors(ctx.work.files / "model.safetensors", own)
