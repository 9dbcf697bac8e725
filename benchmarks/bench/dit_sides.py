"""The sides of the rows on training a DiT."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.equal_networks import dit_config, our_network, their_network
from bench.row import Case, Prepared
from bench.training_step import diffusion_inputs, noise_error, training_step

SHAPE = (4, 16, 16)
SIZES = {
    "small": {"width": 128, "depth": 5, "batch": 16},
    "medium": {"width": 256, "depth": 5, "batch": 16},
    "large": {"width": 384, "depth": 8, "batch": 8},
}
"""1.6M, 6M and 22M parameters, patches of 2 over latents of 4×16×16."""


def _parts(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    config = dit_config(width=case.options["width"], depth=case.options["depth"])
    return config, diffusion_inputs(case, SHAPE)


def ours(case: Case) -> Prepared:
    """Our DiT."""
    config, inputs = _parts(case)
    network = our_network(config)
    if case.options.get("compiled"):
        network.compile()

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return noise_error(network(batch["x"], batch["t"].float()), batch)

    return training_step(case, network, forward, inputs)


def diffusers(case: Case) -> Prepared:
    """diffusers' DiTTransformer2DModel, with a class embedding that adds nothing."""
    config, inputs = _parts(case)
    network = their_network(config, SHAPE[1])
    if case.options.get("compiled"):
        network.compile()
    inputs["labels"] = torch.zeros_like(inputs["t"])

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return noise_error(network(batch["x"], batch["t"], batch["labels"]).sample, batch)

    return training_step(case, network, forward, inputs)
