"""What came out of a file, in our terms: first stage, diffusion network with what belongs to it, what was not read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ablatent.conditioning.class_label import ClassLabel
from ablatent.core.targets import TARGET, target_of
from ablatent.core.weights import digest_tensors
from ablatent.diffusion.parameterization import Eps

EPS = {TARGET: target_of(Eps)}


@dataclass(frozen=True)
class FirstStagePart:
    """An autoencoder. config: a first_stage node without training; state: its tensors by our names."""

    config: dict[str, Any]
    state: dict[str, Tensor]

    @property
    def digest(self) -> str:
        """Of the tensors: what the key of an imported autoencoder is made of."""
        return digest_tensors(self.state)


@dataclass(frozen=True)
class DiffusionPart:
    """A network and what it was trained with.

    config: nodes `network` (complete), `schedule`, `parameterization`, `conditioner` (None: not read), and
    `learned_variance`, `scale_factor`, `latent_size` (side of the latents, None: not known). weights: "raw" and "ema",
    those that there are; names start with network. and conditioner., as in a diffusion stage.
    """

    config: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]

    @property
    def digest(self) -> str:
        """Of all tensors, raw and averaged: what the key of an imported network is made of."""
        return digest_tensors({f"{kind}.{k}": v for kind, state in self.weights.items() for k, v in state.items()})


def diffusion_config(
    network: dict[str, Any],
    schedule: dict[str, Any],
    parameterization: dict[str, Any],
    conditioner: dict[str, Any] | None = None,
    scale_factor: float = 1.0,
    latent_size: int | None = None,
) -> dict[str, Any]:
    """The config of a `DiffusionPart`. A network of twice as many output channels has learned variances."""
    return {
        "network": network,
        "schedule": schedule,
        "parameterization": parameterization,
        "conditioner": conditioner,
        "learned_variance": network["out_channels"] == 2 * network["in_channels"],
        "scale_factor": scale_factor,
        "latent_size": latent_size,
    }


def class_label(rows: Tensor, inject: str) -> dict[str, Any]:
    """The conditioner node of an embedding of classes, whose last row is the null class. inject: tokens | vector."""
    fields = {"classes": len(rows) - 1, "inject": inject, "dim": rows.shape[1], "dropout": 0.1}
    return {TARGET: target_of(ClassLabel), **fields}


@dataclass
class Parts:
    """What was read. notes: what the file does not say and where it was taken from; not_read: name → tensors."""

    first_stage: FirstStagePart | None = None
    diffusion: DiffusionPart | None = None
    notes: list[str] = field(default_factory=list)
    not_read: Counter[str] = field(default_factory=Counter)


def weights_of(
    network: Mapping[str, Mapping[str, Tensor]], conditioner: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """kind → tensors with the prefixes of a diffusion stage's files."""
    beside = {f"conditioner.{k}": v for k, v in conditioner.items()}
    return {kind: {**{f"network.{k}": v for k, v in state.items()}, **beside} for kind, state in network.items()}


def network_of(weights: Mapping[str, Tensor], prefix: str = "network.") -> dict[str, Tensor]:
    """The tensors of the network (or, with another prefix, the conditioner) among a diffusion stage's."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
