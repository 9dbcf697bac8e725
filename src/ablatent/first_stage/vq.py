"""Autoencoder with a codebook (van den Oord et al. 2017; Rombach et al. 2022, section 3.1 "VQ-reg.").

The latents handed to diffusion are the ones before quantisation; the decoder's first act is to quantise.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from ablatent.core.fields import Count, NotNegative, OneOf, Probability
from ablatent.core.types import Moments
from ablatent.first_stage.autoencoder import Autoencoder
from ablatent.first_stage.base import Reconstruction
from ablatent.first_stage.codebook import Codebook, nearest_code


class VQAutoencoder(Autoencoder):
    """Latents are replaced by the nearest of `n_embed` codes before they are decoded.

    Every `restart_every` optimiser steps (null: never) codes that nothing chose since then restart from recent latents.
    beta, init, update, ema_decay, beta_placement: see `Codebook`; the others: see `Architecture`.
    """

    neutral: ClassVar = {"image_channels": 3}

    def __init__(
        self,
        *,
        n_embed: Annotated[int, Ge(2), "codes"],
        beta: Annotated[
            NotNegative, "of the term that pulls the encoder to its codes (van den Oord et al. 2017, eq. 3)"
        ],
        restart_every: Annotated[Count | None, "steps after which codes that nothing chose start anew; null: never"],
        init: Annotated[str, OneOf(("uniform", "data", "kmeans")), "of the codes"],
        update: Annotated[str, OneOf(("gradient", "ema")), "of the codes"] = "gradient",
        ema_decay: Annotated[Probability, "of the averages with update=ema"] = 0.99,
        beta_placement: Annotated[
            Annotated[str, OneOf(("paper", "legacy"))], "legacy: on the other term, as in the released models"
        ] = "paper",
        **architecture: Any,
    ) -> None:
        super().__init__(**architecture)
        self.codebook = Codebook(
            n_embed=n_embed,
            dim=self.latent_channels,
            beta=beta,
            restart_every=restart_every,
            init=init,
            update=update,
            ema_decay=ema_decay,
            beta_placement=beta_placement,
        )

    def moments(self, x: Float[Tensor, "b C H W"]) -> Moments:
        """The latents before quantisation, with standard deviation 0."""
        z = self.encoded(x)
        return Moments(mean=z, std=torch.zeros_like(z))

    def quantise(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The nearest codes of raw latents."""
        index = nearest_code(rearrange(z, "b c h w -> (b h w) c"), self.codebook.weight)
        codes = F.embedding(index, self.codebook.weight)
        return rearrange(codes, "(b h w) c -> b c h w", b=z.shape[0], h=z.shape[2], w=z.shape[3])

    def code_counts(self, z: Float[Tensor, "b c h w"]) -> Int[Tensor, " k"]:
        """How many of the raw latents each code is nearest to."""
        index = nearest_code(rearrange(z, "b c h w -> (b h w) c"), self.codebook.weight)
        return torch.bincount(index, minlength=self.codebook.n_embed)

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images of raw latents, which are quantised first; not clipped. Gradients pass straight through."""
        return self.decoded(self.quantise(z).detach() + (z - z.detach()))

    def forward(self, x: Float[Tensor, "b C H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
        """Quantise and decode; the latents are deterministic, so `noise` is not used."""
        z = self.encoded(x)
        z_q, loss = self.codebook(z)
        stats = {"codebook_loss": loss, "quantisation_mse": F.mse_loss(z_q, z), "latent_std": z.std()}
        return Reconstruction(
            x_hat=self.decoded(z_q),
            regularizer=loss,
            regularizer_name="codebook",
            stats={k: v.detach() for k, v in stats.items()},
        )

    @torch.no_grad()
    def before_step(self, images: Sequence[Float[Tensor, "b C H W"]]) -> None:
        """The first batches give the codes, with init=data or kmeans."""
        if not self.codebook.started():
            self.codebook.initialise([self.encoded(x) for x in images])

    def forget_passes(self) -> None:
        self.codebook.pending.clear()

    def after_step(self, step: int, generator: np.random.Generator) -> dict[str, float]:
        """Restart dead codes after every `restart_every`-th step."""
        self.codebook.learn()
        every = self.codebook.restart_every
        if every is None or step == 0 or step % every != 0:
            return {}
        return {"codes_restarted": float(self.codebook.restart(generator))}

    def epoch_stats(self) -> dict[str, float]:
        """codebook_usage in [0, 1] and codebook_perplexity in [1, n_embed] since the last call."""
        self.codebook.learn()
        return self.codebook.statistics()
