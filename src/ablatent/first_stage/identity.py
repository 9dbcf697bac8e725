"""Diffusion in pixel space: latents are the images (LDM-1 of the paper)."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import OneOf
from ablatent.core.types import Moments
from ablatent.first_stage.base import FirstStage, Reconstruction


class IdentityFirstStage(FirstStage):
    """The channels of the images (image_channels: 3 or 1) at full resolution, standard deviation 0, no parameters."""

    downsample = 1
    trainable = False
    neutral: ClassVar = {"image_channels": 3}

    def __init__(self, image_channels: Annotated[int, OneOf((1, 3)), "of the images: those of the data"] = 3) -> None:
        super().__init__()
        self.image_channels = self.latent_channels = image_channels

    def moments(self, x: Float[Tensor, "b C H W"]) -> Moments:
        """The images themselves, with standard deviation 0."""
        return Moments(mean=x, std=torch.zeros_like(x))

    def decode(self, z: Float[Tensor, "b C H W"]) -> Float[Tensor, "b C H W"]:
        """The latents themselves."""
        return z

    def forward(self, x: Float[Tensor, "b C H W"], noise: Float[Tensor, "b C H W"]) -> Reconstruction:
        """The images themselves; nothing to regularise."""
        return Reconstruction(x_hat=x, regularizer=x.new_zeros(()), regularizer_name="none")

    def last_layer(self) -> nn.Parameter:
        """Refused: there is no layer."""
        raise ConfigError("first_stage", "a first stage with parameters to train", "identity", "Choose kl or vq.")
