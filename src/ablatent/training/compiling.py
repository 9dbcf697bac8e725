"""torch.compile for networks in training: of whole networks, or of the blocks that they repeat."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ablatent.training.sharded import repeated_blocks

_SHAPES = 256
"""Shapes of one class of block that are compiled; torch stops at 8, and runs the others as they are."""


def compile_in_training(networks: Iterable[nn.Module], mode: str) -> None:
    """Compile networks in place, at their first pass that has gradients; names in state dicts stay.

    mode: "network": whole networks. "blocks": what a network repeats, where it repeats something: blocks of equal
    shapes share their code, so that a deep DiT compiles no longer than a short one; a UNet has few of equal shapes.
    "graphs": whole networks in CUDA graphs, which a CPU does not have. Passes without gradients (validations, panels)
    are of other sizes, and few: they run as they are.
    """
    import torch._dynamo.config as dynamo
    import torch._functorch.config as functorch

    # The compiler has a setting of its own: as `set_up_torch` has set torch.
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled(), warn_only=True)
    functorch.donated_buffer = False  # the critic's adaptive weight differentiates twice
    dynamo.recompile_limit = max(dynamo.recompile_limit, _SHAPES)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, _SHAPES)
    options: dict[str, Any] = {"mode": "reduce-overhead"} if mode == "graphs" else {}
    for network in networks:
        blocks = list(repeated_blocks(network)) if mode == "blocks" else []
        for module in blocks or [network]:
            plain = module.forward
            module.forward = _where_gradients_are(plain, torch.compile(plain, dynamic=False, **options))


def _where_gradients_are(plain: Callable[..., Any], compiled: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs) if torch.is_grad_enabled() else plain(*args, **kwargs)

    return forward
