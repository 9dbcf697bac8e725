"""One optimiser step, the same on both sides: loss, backward pass, AdamW. What differs is the network alone."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.row import Case, Prepared

Forward = Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]
"""inputs → (loss, output)."""


def training_step(case: Case, network: nn.Module, forward: Forward, inputs: Mapping[str, Tensor]) -> Prepared:
    """A step of `forward` over fixed inputs.

    Options of the case that are read: channels_last, memory format of weights and of inputs with four dimensions.
    Both sides get fused AdamW. What must agree: the output and the loss of the first weights.
    """
    network.to(case.device).train()
    batch = {name: value.to(case.device) for name, value in inputs.items()}
    # On both sides, whatever layout a network gives itself.
    layout = torch.channels_last if case.options.get("channels_last") else torch.contiguous_format
    network.to(memory_format=layout)
    if layout == torch.channels_last:
        wide = {name: value for name, value in batch.items() if value.ndim == 4}
        batch |= {name: value.contiguous(memory_format=torch.channels_last) for name, value in wide.items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    with torch.no_grad():
        loss, output = forward(batch)
        value = {"loss": loss.float().cpu().numpy(), "output": output.float().cpu().numpy()}
    del loss, output

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = forward(batch)
        loss.backward()
        optimizer.step()

    return Prepared(call, value=lambda: {k: np.asarray(v) for k, v in value.items()}, units=len(batch["x"]))


def diffusion_inputs(case: Case, shape: tuple[int, int, int], tokens: tuple[int, int] | None = None) -> dict[str, Any]:
    """x_t, t, target noise and, where their shape is given, tokens of a condition; the option `batch` says how many."""
    draw, n = torch.Generator().manual_seed(0), case.options["batch"]
    found = {
        "x": torch.randn(n, *shape, generator=draw),
        "t": torch.randint(0, 1000, (n,), generator=draw),
        "target": torch.randn(n, *shape, generator=draw),
    }
    return found if tokens is None else {**found, "tokens": torch.randn(n, *tokens, generator=draw)}


def noise_error(output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The simple loss of DDPM, and the output."""
    return F.mse_loss(output, batch["target"]), output
