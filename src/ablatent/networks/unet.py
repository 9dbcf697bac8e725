"""The time-conditional U-Net of latent diffusion (Rombach et al. 2022, after ADM: Dhariwal & Nichol 2021)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Len
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Probability
from ablatent.core.types import Cond
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, Upsample, fast_convolutions, norm, silu
from ablatent.networks.common import Inputs, check_dropout, check_positive, head_count, level_factors, run
from ablatent.networks.transformer import ResizeBlock, SpatialTransformer, timestep_embedding, zero_init


class Chain(nn.ModuleList):
    """Layers one after the other, each given what it takes: embedding, tokens or neither."""

    def forward(
        self,
        h: Float[Tensor, "b c h w"],
        emb: Float[Tensor, "b e"],
        tokens: Float[Tensor, "b l d"] | None,
        mask: Bool[Tensor, "b l"] | None,
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Apply all layers to h. tokens, mask: see `Cond`."""
        for layer in self:
            if isinstance(layer, ResBlock):
                h = layer(h, emb)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, tokens, mask)
            else:
                h = layer(h)
        return h


class UNet(nn.Module):
    """Predicts one map from x_t, the time t and a condition.

    Each level has `num_res_blocks` ResBlocks on the way down and one more on the way up, attention after each of them
    where the downsample factor is in `attn_factors`, and a skip connection from every block; Res-Attention-Res in the
    middle.

    in_channels, out_channels: of x_t and of the output. ch, ch_mult: width of level k is ch * ch_mult[k].
    attn_factors: powers of two below 2^len(ch_mult). heads or head_channels: one of them, the other null.
    context_dim: width of `cond.tokens`; with it attention is a SpatialTransformer of `transformer_depth` blocks, else
    plain self-attention. vector_dim: width of `cond.vector`. spatial_channels: channels of `cond.spatial`, concatenated
    to x_t. scale_shift: the embedding scales and shifts the second norm. resblock_updown: resize inside ResBlocks.
    checkpointing: trade compute for memory in training. Raises ConfigError for arguments that do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        ch: Annotated[Count, "channels of the first level"],
        ch_mult: Annotated[Sequence[Count], Len(1), "channels of level i: ch * ch_mult[i]"],
        num_res_blocks: Annotated[Count, "residual blocks of a level"],
        attn_factors: Annotated[Sequence[Count], "downsampling factors of the levels with self-attention"],
        head_channels: Annotated[Count | None, "channels of an attention head; null where heads is given"] = None,
        heads: Annotated[Count | None, "attention heads; null where head_channels is given"] = None,
        context_dim: int | None = None,
        vector_dim: int | None = None,
        spatial_channels: int = 0,
        transformer_depth: Annotated[Count, "blocks of each attention over the condition"] = 1,
        dropout: Annotated[Probability, "dropout inside the blocks"] = 0.0,
        scale_shift: Annotated[bool, "the time embedding scales and shifts (adaptive group norm)"] = False,
        resblock_updown: Annotated[bool, "resize inside residual blocks"] = False,
        checkpointing: Annotated[bool, "less memory for more time in training"] = False,
    ) -> None:
        super().__init__()
        self.inputs = Inputs(in_channels, context_dim, vector_dim, spatial_channels)
        sizes = {"out_channels": out_channels, "ch": ch, "num_res_blocks": num_res_blocks}
        check_positive("network", **sizes, transformer_depth=transformer_depth)
        factors = level_factors("network", ch_mult, attn_factors)
        check_dropout("network", dropout)

        self.ch, self.factor, self.checkpointing = ch, factors[-1], checkpointing
        emb_ch = 4 * ch
        self.time_mlp = nn.Sequential(nn.Linear(ch, emb_ch), nn.SiLU(), nn.Linear(emb_ch, emb_ch))
        self.vector_mlp = None
        if vector_dim is not None:
            self.vector_mlp = nn.Sequential(nn.Linear(vector_dim, emb_ch), nn.SiLU(), nn.Linear(emb_ch, emb_ch))

        def res(cin: int, cout: int) -> ResBlock:
            return ResBlock(cin, cout, emb_ch, dropout, scale_shift)

        def attention(c: int) -> nn.Module:
            return _attention(c, head_count(c, heads, head_channels), context_dim, transformer_depth)

        def resize(c: int, up: bool) -> nn.Module:
            if resblock_updown:
                return ResizeBlock(c, emb_ch, dropout, scale_shift, up)
            return Upsample(c) if up else Downsample(c)

        self.conv_in = nn.Conv2d(self.inputs.channels, ch, 3, padding=1)
        width, skips = ch, [ch]
        self.down = nn.ModuleList()
        for factor, mult in zip(factors, ch_mult, strict=True):
            for _ in range(num_res_blocks):
                chain = Chain([res(width, ch * mult)])
                width = ch * mult
                if factor in attn_factors:
                    chain.append(attention(width))
                self.down.append(chain)
                skips.append(width)
            if factor != factors[-1]:
                self.down.append(Chain([resize(width, up=False)]))
                skips.append(width)
        self.mid = Chain([res(width, width), attention(width), res(width, width)])
        self.up = nn.ModuleList()
        for factor, mult in reversed(list(zip(factors, ch_mult, strict=True))):
            for i in range(num_res_blocks + 1):
                chain = Chain([res(width + skips.pop(), ch * mult)])
                width = ch * mult
                if factor in attn_factors:
                    chain.append(attention(width))
                if i == num_res_blocks and factor != 1:
                    chain.append(resize(width, up=True))
                self.up.append(chain)
        self.norm_out = norm(width)
        self.conv_out = zero_init(nn.Conv2d(width, out_channels, 3, padding=1))
        for module in self.modules():
            # The released U-Nets were trained with 1e-5 here, and with 1e-6 in the transformers and the autoencoders.
            if isinstance(module, ResBlock):
                module.norm1.eps = module.norm2.eps = 1e-5
            elif isinstance(module, SelfAttention2d):
                module.norm.eps = 1e-5
        self.norm_out.eps = 1e-5
        fast_convolutions(self)

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"], cond: Cond | None = None
    ) -> Float[Tensor, "b o h w"]:
        """x: x_t; h and w divisible by 2^(levels-1). t: real-valued times in [0, T-1]. cond: None is the empty one.

        Raises ConfigError where the condition's parts are not those that the network was built for.
        """
        cond = Cond() if cond is None else cond
        x = self.inputs.join(x, cond)
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ConfigError(
                "network.ch_mult",
                f"latents whose height and width are divisible by {self.factor} (halved at each level but the last)",
                f"{x.shape[2]}x{x.shape[3]}",
                "Give fewer levels, or larger images.",
            )
        emb = self.time_mlp(timestep_embedding(t, self.ch).to(x.dtype))
        if self.vector_mlp is not None:
            emb = emb + self.vector_mlp(cond.vector)
        h = self.conv_in(x)
        skips = [h]
        for chain in self.down:
            h = self._run(chain, h, emb, cond)
            skips.append(h)
        h = self._run(self.mid, h, emb, cond)
        for chain in self.up:
            h = self._run(chain, torch.cat([h, skips.pop()], dim=1), emb, cond)
        return self.conv_out(silu(self.norm_out(h)))

    def _run(self, chain: nn.Module, h: Tensor, emb: Tensor, cond: Cond) -> Tensor:
        return run(chain, self.checkpointing, h, emb, cond.tokens, cond.mask)


def _attention(c: int, heads: int, context_dim: int | None, depth: int) -> SelfAttention2d | SpatialTransformer:
    """Attention for a level of width c, which starts as the identity."""
    if context_dim is not None:
        return SpatialTransformer(c, heads, depth, context_dim)
    block = SelfAttention2d(c, c // heads)
    zero_init(block.out)
    return block
