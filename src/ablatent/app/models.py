"""Trained models, out of the store."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ablatent.app.context import Context, weights_path
from ablatent.app.objects import make, make_first_stage, stored_config
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.first_stage.base import FirstStage
from ablatent.store.artifacts import Artifact
from ablatent.tasks.generate import Model


def load_first_stage(artifact: Artifact, device: torch.device) -> FirstStage:
    """In evaluation mode, frozen, float32."""
    from safetensors.torch import load_file

    model: FirstStage = make_first_stage(stored_config(artifact))
    if model.state_dict():
        model.load_state_dict(load_file(str(artifact.path / "model.safetensors")))
    return model.to(device).eval().requires_grad_(False)


def make_network(
    config: Mapping[str, Any], latent_channels: int, classes: int, learned_variance: bool
) -> tuple[nn.Module, Any]:
    """(network, conditioner) of a diffusion node; the network takes the shapes that follow from its neighbours."""
    labelled = "label" in fields_of(config["conditioner"])
    conditioner = make(config["conditioner"], **({"classes": classes} if labelled else {}))
    network = make(
        config["network"],
        in_channels=latent_channels,
        out_channels=latent_channels * (2 if learned_variance else 1),
        context_dim=conditioner.context_dim,
        vector_dim=conditioner.vector_dim,
        spatial_channels=conditioner.spatial_channels,
    )
    return network, conditioner


def make_denoiser(config: Mapping[str, Any], latent_channels: int, classes: int) -> tuple[Denoiser, Any]:
    """(denoiser, conditioner) of a diffusion node."""
    learned = bool(config["learned_variance"])
    network, conditioner = make_network(config, latent_channels, classes, learned)
    return Denoiser(network, make(config["schedule"]), make(config["parameterization"]), learned), conditioner


def fields_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    from hydra.utils import get_class

    kind: Any = get_class(config["_target_"])
    return tuple(kind.fields)


def load_model(ctx: Context, weights: str, snapshot: str | int) -> Model:
    """The whole generator that a samples stage stands on: inputs first_stage, latents, diffusion."""
    from safetensors.torch import load_file

    diffusion, latents = ctx.input("diffusion"), ctx.input("latents")
    first_stage = load_first_stage(ctx.input("first_stage"), ctx.device)
    summary = diffusion.json("summary.json")
    denoiser, conditioner = make_denoiser(stored_config(diffusion), first_stage.latent_channels, summary["classes"])
    state = load_file(str(weights_path(diffusion.path, weights, snapshot)))
    for name, module in (("network.", denoiser.network), ("conditioner.", conditioner)):
        module.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
    for module in (denoiser, conditioner):
        module.to(ctx.device).eval().requires_grad_(False)
    normalizer = LatentNormalizer.load(latents.path / "normalizer.json")
    shape = tuple(latents.json("summary.json")["shape"])
    return Model(first_stage, normalizer, denoiser, conditioner, shape, ctx.device)
