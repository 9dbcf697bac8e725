"""Autoencoder with a codebook (van den Oord et al. 2017; Rombach et al. 2022, section 3.1 "VQ-reg.").

The latents handed to diffusion are the ones before quantisation; the decoder's first act is to quantise.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.ranks import from_rank_zero, whole_batch
from ablatent.core.types import Moments
from ablatent.first_stage.autoencoder import Autoencoder, positive
from ablatent.first_stage.base import Reconstruction

_MAX_DISTANCES = 2**24  # entries of the (rows, codes) matrix held at once: 64 MiB in float32


def nearest_code(z: Float[Tensor, "n d"], codes: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Index of the nearest code in Euclidean distance; ties go to the lower index. No (n, k, d) tensor is made."""
    with torch.no_grad(), torch.autocast(device_type=z.device.type, enabled=False):
        z, codes = z.float(), codes.float()
        # |z|^2 is the same for every code: it does not move the minimum.
        bias = codes.square().sum(dim=1)
        rows = max(1, _MAX_DISTANCES // codes.shape[0])
        return torch.cat([torch.addmm(bias, part, codes.T, alpha=-2.0).argmin(dim=1) for part in z.split(rows)])


def spread(rows: Tensor, count: int) -> Tensor:
    """`count` rows at equal distances through `rows`; rows repeat where there are fewer."""
    index = torch.arange(count, device=rows.device) * rows.shape[0] // count
    return rows[index]


class Codebook(nn.Module):
    """Codes, their use, and the recent encoder outputs that replace unused ones. All state is in the state dict.

    beta weighs the commitment term |sg[z_q] - z_e|^2 (the encoder follows the codes) against |z_q - sg[z_e]|^2
    (the codes follow the encoder): van den Oord et al. 2017, eq. 3. init: "uniform" in [-1/k, 1/k] as in the reference,
    or "data": rows spread evenly over the latents of the first training batch.
    """

    usage: Tensor
    used: Tensor
    recent: Tensor
    recent_next: Tensor
    recent_count: Tensor
    initialised: Tensor

    def __init__(self, n_embed: int, dim: int, beta: float, restart_every: int | None, init: str) -> None:
        super().__init__()
        positive("n_embed", n_embed)
        if not beta >= 0.0:
            raise ConfigError("first_stage.beta", "a number >= 0", beta)
        if restart_every is not None:
            positive("restart_every", restart_every)
        if init not in ("uniform", "data"):
            raise ConfigError("first_stage.init", "uniform or data", init)
        self.n_embed, self.beta, self.restart_every = n_embed, float(beta), restart_every
        self.weight = nn.Parameter(torch.empty(n_embed, dim).uniform_(-1.0 / n_embed, 1.0 / n_embed))
        self.heard: list[tuple[Tensor, Tensor]] = []  # latents and codes of the training passes since the last `learn`
        self.register_buffer("usage", torch.zeros(n_embed, dtype=torch.int64))  # since the last epoch_stats
        self.register_buffer("used", torch.zeros(n_embed, dtype=torch.int64))  # since the last restart
        self.register_buffer("recent", torch.zeros(n_embed, dim))  # ring of encoder outputs
        self.register_buffer("recent_next", torch.zeros((), dtype=torch.int64))
        self.register_buffer("recent_count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("initialised", torch.tensor(init == "uniform"))

    def forward(self, z: Float[Tensor, "b d h w"]) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, ""]]:
        """Quantised latents (gradients pass straight through) and the codebook loss; counts only in training mode."""
        flat = rearrange(z, "b d h w -> (b h w) d")
        index = nearest_code(flat, self.weight)
        quantised = F.embedding(index, self.weight)
        loss = F.mse_loss(quantised, flat.detach()) + self.beta * F.mse_loss(flat, quantised.detach())
        if self.training:
            self.heard.append((z.detach(), rearrange(index, "(b n) -> b n", b=z.shape[0])))
        straight = quantised.detach() + (flat - flat.detach())  # the value is the code to the last bit
        return rearrange(straight, "(b h w) d -> b d h w", b=z.shape[0], h=z.shape[2], w=z.shape[3]), loss

    @torch.no_grad()
    def initialise(self, latents: Sequence[Float[Tensor, "b d h w"]]) -> None:
        """Codes from the latents of the first batch (one tensor a micro-batch), where they are wanted from there."""
        if not bool(self.initialised):
            flat = rearrange(whole_batch(latents), "b d h w -> (b h w) d")
            self.weight.copy_(from_rank_zero(spread(flat, self.n_embed)))
            self.initialised.fill_(True)

    @torch.no_grad()
    def learn(self) -> None:
        """Count and keep what the training passes since the last call chose, on all ranks, as one batch."""
        if self.heard:
            z, index = (whole_batch(parts) for parts in zip(*self.heard, strict=True))
            self.heard.clear()
            self._remember(rearrange(z, "b d h w -> (b h w) d"), rearrange(index, "b n -> (b n)"))

    def _remember(self, flat: Tensor, index: Tensor) -> None:
        counts = torch.bincount(index, minlength=self.n_embed)
        self.usage += counts
        self.used += counts
        rows = spread(flat, min(flat.shape[0], self.n_embed)).to(self.recent.dtype)
        where = (self.recent_next + torch.arange(rows.shape[0], device=rows.device)) % self.n_embed
        self.recent[where] = rows
        self.recent_next.copy_((self.recent_next + rows.shape[0]) % self.n_embed)
        self.recent_count.copy_((self.recent_count + rows.shape[0]).clamp(max=self.n_embed))

    @torch.no_grad()
    def restart(self, generator: np.random.Generator) -> int:
        """Put recent encoder outputs in place of the codes that nothing chose since the last restart; how many."""
        dead = torch.nonzero(self.used == 0).flatten()
        available = int(self.recent_count)
        if len(dead) > 0 and available > 0:
            chosen = generator.permutation(available)
            if len(dead) > available:  # each once, the others again at random
                chosen = np.concatenate([chosen, generator.integers(0, available, size=len(dead) - available)])
            rows = self.recent[torch.from_numpy(chosen[: len(dead)]).to(self.recent.device)]
            self.weight[dead] = from_rank_zero(rows).to(self.weight.dtype)
        self.used.zero_()
        return len(dead) if available > 0 else 0

    def statistics(self) -> dict[str, float]:
        """Share of the codes in use, and perplexity exp(entropy) of their use; the counts start again."""
        total = int(self.usage.sum())
        if total == 0:
            return {}
        p = self.usage.double() / total
        perplexity = torch.exp(-torch.special.xlogy(p, p).sum())
        result = {
            "codebook_usage": float((self.usage > 0).double().mean()),
            "codebook_perplexity": float(perplexity),
        }
        self.usage.zero_()
        return result


class VQAutoencoder(Autoencoder):
    """Latents are replaced by the nearest of `n_embed` codes before they are decoded.

    Every `restart_every` optimiser steps (null: never) codes that nothing chose since then restart from recent latents.
    """

    def __init__(
        self,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        attn_factors: Sequence[int],
        mid_blocks: int,
        mid_attention: bool,
        dropout: float,
        stem: int,
        n_embed: int,
        beta: float,
        restart_every: int | None,
        init: str,
    ) -> None:
        super().__init__(
            ch,
            ch_mult,
            num_res_blocks,
            z_channels,
            attn_factors,
            mid_blocks,
            mid_attention,
            dropout,
            stem,
            moment_maps=1,
        )
        self.codebook = Codebook(n_embed, z_channels, beta, restart_every, init)

    def moments(self, x: Float[Tensor, "b 3 H W"]) -> Moments:
        """The latents before quantisation, with standard deviation 0."""
        z = self.encoded(x)
        return Moments(mean=z, std=torch.zeros_like(z))

    def quantise(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The nearest codes of raw latents."""
        index = nearest_code(rearrange(z, "b c h w -> (b h w) c"), self.codebook.weight)
        codes = F.embedding(index, self.codebook.weight)
        return rearrange(codes, "(b h w) c -> b c h w", b=z.shape[0], h=z.shape[2], w=z.shape[3])

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images of raw latents, which are quantised first; not clipped. Gradients pass straight through."""
        return self.decoded(self.quantise(z).detach() + (z - z.detach()))

    def forward(self, x: Float[Tensor, "b 3 H W"], noise: Float[Tensor, "b c h w"]) -> Reconstruction:
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
    def before_step(self, images: Sequence[Float[Tensor, "b 3 H W"]]) -> None:
        """The first batch gives the codes, with init=data."""
        if not bool(self.codebook.initialised):
            self.codebook.initialise([self.encoded(x) for x in images])

    def forget_passes(self) -> None:
        self.codebook.heard.clear()

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
