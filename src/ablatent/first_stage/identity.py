"""Diffusion in pixel space: latents are the images (LDM-1 of the paper)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.types import Moments
from ablatent.first_stage.base import FirstStage, Reconstruction


class IdentityFirstStage(FirstStage):
    """Three latent channels at full resolution, standard deviation 0, no parameters, never trained."""

    latent_channels = 3
    downsample = 1
    trainable = False

    def moments(self, x: Float[Tensor, "b 3 H W"]) -> Moments:
        """The images themselves, with standard deviation 0."""
        return Moments(mean=x, std=torch.zeros_like(x))

    def decode(self, z: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """The latents themselves."""
        return z

    def forward(self, x: Float[Tensor, "b 3 H W"], noise: Float[Tensor, "b 3 H W"]) -> Reconstruction:
        """The images themselves; nothing to regularise."""
        return Reconstruction(x_hat=x, regularizer=x.new_zeros(()), regularizer_name="none")

    def last_layer(self) -> nn.Parameter:
        """Refused: there is no layer."""
        raise ConfigError("first_stage", "a first stage with parameters to train", "identity", "Choose kl or vq.")
