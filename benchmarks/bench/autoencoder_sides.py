"""The sides of the rows on training a KL autoencoder without loss networks."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.equal_networks import autoencoder_config, our_network, their_network
from bench.row import Case, Prepared
from bench.training_step import training_step

SIDE, KL_WEIGHT = 32, 1e-6
SIZES = {
    "small": {"ch": 32, "ch_mult": [1, 2], "batch": 8},
    "medium": {"ch": 64, "ch_mult": [1, 2], "batch": 8},
    "large": {"ch": 128, "ch_mult": [1, 2], "batch": 4},
}
"""1M, 4M and 17M parameters, a factor of 2, over images of 32×32."""


def _inputs(case: Case) -> dict[str, Tensor]:
    draw, n = torch.Generator().manual_seed(0), case.options["batch"]
    images = torch.rand(n, 3, SIDE, SIDE, generator=draw) * 2 - 1
    return {"x": images, "noise": torch.randn(n, 4, SIDE // 2, SIDE // 2, generator=draw)}


def _config(case: Case) -> dict[str, Any]:
    return autoencoder_config(ch=case.options["ch"], ch_mult=case.options["ch_mult"])


def ours(case: Case) -> Prepared:
    """Our KL autoencoder: L1 error and KL."""
    network = our_network(_config(case))
    if case.options.get("compiled"):
        network.encoder.compile()
        network.decoder.compile()

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = network(batch["x"], batch["noise"])
        return F.l1_loss(found.x_hat, batch["x"]) + KL_WEIGHT * found.regularizer, found.x_hat

    return training_step(case, network, forward, _inputs(case))


def diffusers(case: Case) -> Prepared:
    """diffusers' AutoencoderKL, with the same noise and loss."""
    network = their_network(_config(case), SIDE)
    if case.options.get("compiled"):
        network.encoder.compile()
        network.decoder.compile()

    def forward(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        posterior = network.encode(batch["x"]).latent_dist
        x_hat = network.decode(posterior.mean + posterior.std * batch["noise"]).sample
        kl = posterior.kl().mean() / batch["x"][0].numel()
        return F.l1_loss(x_hat, batch["x"]) + KL_WEIGHT * kl, x_hat

    return training_step(case, network, forward, _inputs(case))
