"""The classifier that guides: the downward half of the U-Net and a pooling (Dhariwal & Nichol 2021, section 4)."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from annotated_types import Len
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Count, OneOf, Probability
from ablatent.core.progress import counted
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, norm
from ablatent.networks.common import check_dropout, check_positive, head_count, level_factors
from ablatent.networks.transformer import Attention, timestep_embedding, zero_init

NODE = "classifier.network"  # where this network stands in the configuration
POOLS = ("attention", "mean")


class NoisyClassifier(nn.Module):
    """Logits of a noisy latent at time t.

    Each level has `num_res_blocks` ResBlocks, self-attention after each of them where the downsample factor is in
    `attn_factors`; Res-Attention-Res at the lowest resolution; then one vector per sample, and a linear layer.

    in_channels: of the latent. classes: number of logits. ch, ch_mult: width of level k is ch * ch_mult[k].
    attn_factors: powers of two below 2^len(ch_mult). head_channels or heads: one of them, the other null. dropout:
    inside the ResBlocks. pool: mean over positions, or attention: the mean asks all positions (as the released
    classifiers do).
    Raises ConfigError for arguments that do not fit together.
    """

    neutral: ClassVar[dict[str, Any]] = {"heads": None}

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        ch: Annotated[Count, "channels of the first level"],
        ch_mult: Annotated[Sequence[Count], Len(1), "channels of level i: ch * ch_mult[i]"],
        num_res_blocks: Annotated[Count, "residual blocks of a level"],
        attn_factors: Annotated[Sequence[Count], "downsampling factors of the levels with self-attention"],
        head_channels: Annotated[Count | None, "channels of an attention head; null where heads is given"],
        dropout: Annotated[Probability, "dropout inside the blocks"] = 0.0,
        pool: Annotated[str, OneOf(("attention", "mean")), "how the last map becomes one vector"] = "attention",
        heads: Annotated[Count | None, "attention heads; null where head_channels is given"] = None,
    ) -> None:
        super().__init__()
        check_positive(NODE, in_channels=in_channels, ch=ch, num_res_blocks=num_res_blocks)
        if classes < 2:
            do = "Use other data, or guidance=none."
            raise ConfigError(NODE, "data with at least 2 classes", counted(classes, "class", "classes"), do)
        factors = level_factors(NODE, ch_mult, attn_factors)
        check_dropout(NODE, dropout)
        if pool not in POOLS:
            raise ConfigError(f"{NODE}.pool", "attention or mean", pool, did_you_mean(pool, POOLS))
        self.ch, self.in_channels, self.factor = ch, in_channels, factors[-1]
        emb_ch = 4 * ch
        self.time_mlp = nn.Sequential(nn.Linear(ch, emb_ch), nn.SiLU(), nn.Linear(emb_ch, emb_ch))
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        self.layers = nn.ModuleList()
        width = ch
        for factor, mult in zip(factors, ch_mult, strict=True):
            for _ in range(num_res_blocks):
                self.layers.append(ResBlock(width, ch * mult, emb_ch, dropout))
                width = ch * mult
                if factor in attn_factors:
                    self.layers.append(_attention(width, heads, head_channels))
            if factor != factors[-1]:
                self.layers.append(Downsample(width))
        self.layers.append(ResBlock(width, width, emb_ch, dropout))
        self.layers.append(_attention(width, heads, head_channels))
        self.layers.append(ResBlock(width, width, emb_ch, dropout))
        self.norm_out = norm(width)
        self.pool = (
            Attention(width, head_count(width, heads, head_channels, NODE), width) if pool == "attention" else None
        )
        self.head = nn.Linear(width, classes)
        for p in self.head.parameters():  # every class is as likely before the first step
            nn.init.zeros_(p)

    def forward(self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Logits of the classes. x: x_t, h and w divisible by 2^(levels-1). t: real-valued times in [0, T-1].

        Raises ConfigError for latents of other channels or sides.
        """
        if x.shape[1] != self.in_channels or x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ConfigError(
                NODE,
                f"latents of {self.in_channels} channels whose height and width are divisible by {self.factor}",
                "x".join(map(str, x.shape[1:])),
                "Give fewer levels in classifier.network.ch_mult, or larger images.",
            )
        emb = self.time_mlp(timestep_embedding(t, self.ch).to(x.dtype))
        h = self.conv_in(x)
        for layer in self.layers:
            h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
        h = F.silu(self.norm_out(h))
        mean = reduce(h, "b c h w -> b 1 c", "mean")
        if self.pool is not None:
            mean = mean + self.pool(mean, rearrange(h, "b c h w -> b (h w) c"))
        return self.head(rearrange(mean, "b 1 c -> b c"))


def _attention(c: int, heads: int | None, head_channels: int | None) -> SelfAttention2d:
    """Attention for a level of width c, which starts as the identity."""
    block = SelfAttention2d(c, c // head_count(c, heads, head_channels, NODE))
    zero_init(block.out)
    return block
