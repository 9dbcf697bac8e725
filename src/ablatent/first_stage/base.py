"""What every first stage offers: images to raw latents and back, and a training pass."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.types import Moments


@dataclass(frozen=True)
class Reconstruction:
    """One training pass.

    x_hat: images, not clipped; regularizer: scalar that the loss multiplies by its `regularizer_weight` (weights
    inside it, such as beta of a codebook, are already in); regularizer_name: "kl", "codebook" or "none"; stats:
    detached scalars.
    """

    x_hat: Float[Tensor, "b 3 H W"]
    regularizer: Float[Tensor, ""]
    regularizer_name: str
    stats: dict[str, Tensor] = field(default_factory=dict)


class FirstStage(nn.Module, ABC):
    """Images in [-1, 1] to raw latents (`downsample` times smaller, `latent_channels` deep) and back.

    Nothing here draws random numbers: noise and generators come from the caller, and all state that training
    changes is in the state dict, so that a resumed training equals an uninterrupted one bit for bit.
    """

    latent_channels: int
    downsample: int
    trainable: bool

    @abstractmethod
    def moments(self, x: Float[Tensor, "b 3 H W"]) -> Moments:
        """Mean and standard deviation of the raw latents of images in [-1, 1]; std is 0 where it is deterministic."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images of raw latents, not clipped to [-1, 1]."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "b 3 H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
        """A training pass over images in [-1, 1]; `noise` ~ N(0, 1) in the shape of the latents."""

    @abstractmethod
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's output convolution, where the adaptive weight compares gradients."""

    def after_step(self, step: int, generator: np.random.Generator) -> dict[str, float]:
        """Called after each optimiser step with the number of steps done; returns numbers to log."""
        return {}

    def epoch_stats(self) -> dict[str, float]:
        """Statistics of the training passes since the last call, which are then forgotten."""
        return {}

    def code_counts(self, z: Float[Tensor, "b c h w"]) -> Int[Tensor, " k"] | None:
        """How many of the raw latents each code of the codebook stands for; None where there is no codebook."""
        return None

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents of `height` x `width` images; ConfigError if `downsample` does not divide them."""
        if height % self.downsample != 0 or width % self.downsample != 0:
            up = -(-max(height, width) // self.downsample) * self.downsample
            raise ConfigError(
                "data.size",
                f"a multiple of {self.downsample}, the downsampling factor of the first stage",
                height if height == width else (height, width),
                f"Take {up} for instance, or a first stage with a lower factor.",
            )
        return self.latent_channels, height // self.downsample, width // self.downsample


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(t: Tensor) -> Tensor:
    """The sum of `t` over all ranks; `t` itself when there is one process."""
    if not _several_ranks():
        return t
    t = t.detach().clone()
    dist.all_reduce(t)
    return t


def mean_over_ranks(t: Tensor) -> Tensor:
    """The mean of `t` over all ranks; `t` itself when there is one process."""
    return sum_over_ranks(t) / dist.get_world_size() if _several_ranks() else t


def from_rank_zero(t: Tensor) -> Tensor:
    """Rank zero's `t` on every rank; `t` itself when there is one process."""
    if not _several_ranks():
        return t
    t = t.detach().contiguous().clone()
    with torch.no_grad():
        dist.broadcast(t, src=0)
    return t
