"""What every first stage offers: images to raw latents and back, and a training pass."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
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

    x_hat: Float[Tensor, "b C H W"]
    regularizer: Float[Tensor, ""]
    regularizer_name: str
    stats: dict[str, Tensor] = field(default_factory=dict)


class FirstStage(nn.Module, ABC):
    """Images in [-1, 1] to raw latents (`downsample` times smaller, `latent_channels` deep) and back.

    trainable: whether it has parameters to train; regularized: whether its training pass has a term that
    `loss.regularizer_weight` weighs; image_channels: of the images, 3 (RGB) or 1 (grey).

    Nothing here draws random numbers: noise and generators come from the caller, and all state that training
    changes is in the state dict, so that a resumed training equals an uninterrupted one bit for bit.
    """

    latent_channels: int
    downsample: int
    trainable: bool
    regularized: bool = True
    image_channels: int = 3

    @abstractmethod
    def moments(self, x: Float[Tensor, "b C H W"]) -> Moments:
        """Mean and standard deviation of the raw latents of images in [-1, 1]; std is 0 where it is deterministic."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images of raw latents, not clipped to [-1, 1]."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "b C H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
        """A training pass over images in [-1, 1]; `noise` ~ N(0, 1) in the shape of the latents."""

    @abstractmethod
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's output convolution, where the adaptive weight compares gradients."""

    def before_step(self, images: Sequence[Float[Tensor, "b C H W"]]) -> None:
        """Called before the training passes of each optimiser step with its batch, one tensor a micro-batch."""

    def forget_passes(self) -> None:
        """Drop what the training passes since the last step kept: they only measured, nothing is learned from them."""

    def after_step(self, step: int, generator: np.random.Generator) -> dict[str, float]:
        """Called after each optimiser step with the number of steps done; returns values to log by name.

        Whatever is learned beside gradients (use of codes, say) is learned here, from the training passes since the
        last step: those of all micro-batches on all ranks, as if they had been one.
        """
        return {}

    def epoch_stats(self) -> dict[str, float]:
        """Statistics of the training passes since the last call, which are then forgotten."""
        return {}

    def code_counts(self, z: Float[Tensor, "b c h w"]) -> Int[Tensor, " k"] | None:
        """How many of the raw latents each code stands for; None where latents are not quantised."""
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
