"""Classifiers of noisy latents out of configurations and out of the store."""

from collections.abc import Mapping
from typing import Any

import torch

from ablatent.core.instantiate import make
from ablatent.samplers.guidance_classifier import NoisyLogits
from ablatent.schedules.base import NoiseSchedule
from ablatent.stages.stored import stored_config
from ablatent.store.artifacts import Artifact


def make_logits(config: Mapping[str, Any], latent_channels: int, classes: int) -> NoisyLogits:
    """The classifier of a stage's configuration, with fresh weights."""
    network = make(config["network"], torch.nn.Module, in_channels=latent_channels, classes=classes)
    return NoisyLogits(network, make(config["schedule"], NoiseSchedule))


def load_logits(artifact: Artifact, latent_channels: int, device: torch.device) -> NoisyLogits:
    """The classifier of an artifact, in evaluation mode, frozen, float32."""
    from safetensors.torch import load_file

    classes = int(artifact.json("summary.json")["classes"])
    logits = make_logits(stored_config(artifact), latent_channels, classes)
    logits.network.load_state_dict(load_file(str(artifact.path / "model.safetensors")))
    return logits.to(device).eval().requires_grad_(False)
