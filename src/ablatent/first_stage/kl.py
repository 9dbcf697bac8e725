"""Autoencoder with a slight pull of its latents towards N(0, 1) (Rombach et al. 2022, section 3.1 "KL-reg.")."""

from typing import ClassVar

from einops import reduce
from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Moments
from ablatent.first_stage.autoencoder import Autoencoder
from ablatent.first_stage.base import Reconstruction

LOGVAR_MIN, LOGVAR_MAX = -30.0, 20.0


def gaussian_kl(mean: Float[Tensor, "b c h w"], logvar: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats, summed over the latents of each sample."""
    return 0.5 * reduce(mean.square() + logvar.exp() - 1.0 - logvar, "b c h w -> b", "sum")


class KLAutoencoder(Autoencoder):
    """Latents are a diagonal Gaussian. Arguments: those of `Architecture`.

    The regulariser is the KL divergence of a sample's latents divided by the C*H*W values of its image, so that
    mean reconstruction error + kl_weight * regulariser is, up to one constant factor, the published
    sum of errors + kl_weight * sum of KL, and the published weight 1e-6 keeps its meaning.
    """

    moment_maps = 2
    neutral: ClassVar = {"image_channels": 3}

    def _gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoded(x).chunk(2, dim=1)
        return mean, logvar.clamp(LOGVAR_MIN, LOGVAR_MAX)

    def moments(self, x: Float[Tensor, "b C H W"]) -> Moments:
        """Mean and standard deviation of the latents of images in [-1, 1]."""
        mean, logvar = self._gaussian(x)
        return Moments(mean=mean, std=(0.5 * logvar).exp())

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images of raw latents, not clipped."""
        return self.decoded(z)

    def forward(self, x: Float[Tensor, "b C H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
        """Decode mean + std * noise; stats: KL per sample in nats, mean and standard deviations of the latents."""
        mean, logvar = self._gaussian(x)
        std = (0.5 * logvar).exp()
        kl = gaussian_kl(mean, logvar).mean()
        stats = {"kl": kl, "latent_mean": mean.mean(), "latent_std": mean.std(), "posterior_std": std.mean()}
        return Reconstruction(
            x_hat=self.decoded(mean + std * noise),
            regularizer=kl / x[0].numel(),
            regularizer_name="kl",
            stats={k: v.detach() for k, v in stats.items()},
        )
