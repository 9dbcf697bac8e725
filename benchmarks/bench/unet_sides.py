"""The sides of the rows on training a UNet."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ablatent.core.types import Cond
from bench.equal_networks import our_network, their_network, unet_config
from bench.row import Case, Prepared
from bench.training_step import diffusion_inputs, noise_error, training_step

SHAPE, TOKENS = (4, 16, 16), 16
SIZES = {
    "small": {"ch": 32, "batch": 16},
    "medium": {"ch": 64, "batch": 16},
    "large": {"ch": 128, "batch": 8},
}
"""1.1M, 4.5M and 18M parameters, two levels with attention at the lower, over latents of 4×16×16."""


def _parts(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    width = case.options.get("context_dim")
    config = unet_config(ch=case.options["ch"], ch_mult=[1, 2], context_dim=width)
    return config, diffusion_inputs(case, SHAPE, None if width is None else (TOKENS, width))


def ours(case: Case) -> Prepared:
    """Our UNet."""
    config, inputs = _parts(case)
    network = our_network(config)
    if case.options.get("compiled"):
        network.compile()

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return noise_error(network(batch["x"], batch["t"].float(), Cond(tokens=batch.get("tokens"))), batch)

    return training_step(case, network, forward, inputs)


def diffusers(case: Case) -> Prepared:
    """diffusers' UNet2DModel, with tokens its UNet2DConditionModel."""
    config, inputs = _parts(case)
    network = their_network(config, SHAPE[1])
    if case.options.get("compiled"):
        network.compile()

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        tokens = (batch["tokens"],) if "tokens" in batch else ()
        return noise_error(network(batch["x"], batch["t"], *tokens).sample, batch)

    return training_step(case, network, forward, inputs)
