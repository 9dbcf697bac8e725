"""Convolutional encoder and decoder of the latent diffusion paper (Rombach et al. 2022, appendix G; Esser et al. 2021).

Level i has ch * ch_mult[i] channels at 1 / (stem * 2^i) of the image's resolution. `stem` 2 or 4 folds pixels into
channels before the first convolution and unfolds them after the last: full-resolution convolutions are what costs on
a CPU. stem 1 is the paper's architecture.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.first_stage.base import FirstStage
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, Upsample, norm

STEMS = (1, 2, 4)


def positive(key: str, value: object) -> int:
    """`value` as an integer >= 1, or ConfigError at `first_stage.key`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"first_stage.{key}", "an integer >= 1", value)
    return value


def check_architecture(
    ch: int, ch_mult: Sequence[int], num_res_blocks: int, attn_factors: Sequence[int], dropout: float, stem: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and downsample factors of the levels; ConfigError for options that describe no network."""
    positive("ch", ch)
    positive("num_res_blocks", num_res_blocks)
    if stem not in STEMS:
        raise ConfigError("first_stage.stem", "1 (the paper), 2 or 4", stem)
    if isinstance(ch_mult, str) or not isinstance(ch_mult, Sequence) or len(ch_mult) == 0:
        raise ConfigError("first_stage.ch_mult", "a list of channel multipliers such as [1, 2, 4]", ch_mult)
    widths = tuple(ch * positive("ch_mult", m) for m in ch_mult)
    factors = tuple(stem * 2**i for i in range(len(widths)))
    if isinstance(attn_factors, str) or not isinstance(attn_factors, Sequence):
        raise ConfigError("first_stage.attn_factors", "a list of downsample factors, [] for none", attn_factors)
    for f in attn_factors:
        if f not in factors:
            raise ConfigError("first_stage.attn_factors", f"factors that have a level: {list(factors)}", f)
    if not 0.0 <= dropout < 1.0:
        raise ConfigError("first_stage.dropout", "a number in [0, 1)", dropout)
    return widths, factors


def _middle(ch: int, blocks: int, attention: bool, dropout: float) -> nn.Sequential:
    """`blocks` residual blocks (the paper: 2), with attention after the first."""
    body: list[nn.Module] = [ResBlock(ch, ch, dropout=dropout) for _ in range(blocks)]
    if attention:
        body.insert(1, SelfAttention2d(ch))
    return nn.Sequential(*body)


class Encoder(nn.Module):
    """Images to `out_channels` feature maps at the lowest resolution."""

    def __init__(
        self,
        widths: Sequence[int],
        factors: Sequence[int],
        out_channels: int,
        num_res_blocks: int,
        attn_factors: Sequence[int],
        mid_blocks: int,
        mid_attention: bool,
        dropout: float,
        stem: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        ch = widths[0]
        self.conv_in = nn.Conv2d(3 * stem**2, ch, 3, padding=1)
        body: list[nn.Module] = []
        for level, (width, factor) in enumerate(zip(widths, factors, strict=True)):
            if level > 0:
                body.append(Downsample(ch, end_padding=True))
            for _ in range(num_res_blocks):
                body.append(ResBlock(ch, width, dropout=dropout))
                ch = width
                if factor in attn_factors:
                    body.append(SelfAttention2d(ch))
        self.body = nn.Sequential(*body, _middle(ch, mid_blocks, mid_attention, dropout))
        self.norm_out = norm(ch)
        self.conv_out = nn.Conv2d(ch, out_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Feature maps of images in [-1, 1]."""
        h = rearrange(x, "b c (h s1) (w s2) -> b (c s1 s2) h w", s1=self.stem, s2=self.stem)
        h = self.body(self.conv_in(h))
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    """Latents to images; one residual block more per level than the encoder, as in the reference."""

    def __init__(
        self,
        widths: Sequence[int],
        factors: Sequence[int],
        in_channels: int,
        num_res_blocks: int,
        attn_factors: Sequence[int],
        mid_blocks: int,
        mid_attention: bool,
        dropout: float,
        stem: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        ch = widths[-1]
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        body: list[nn.Module] = [_middle(ch, mid_blocks, mid_attention, dropout)]
        for level in reversed(range(len(widths))):
            for _ in range(num_res_blocks + 1):
                body.append(ResBlock(ch, widths[level], dropout=dropout))
                ch = widths[level]
                if factors[level] in attn_factors:
                    body.append(SelfAttention2d(ch))
            if level > 0:
                body.append(Upsample(ch))
        self.body = nn.Sequential(*body)
        self.norm_out = norm(ch)
        self.conv_out = nn.Conv2d(ch, 3 * stem**2, 3, padding=1)

    def forward(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images, not clipped."""
        h = self.body(self.conv_in(z))
        h = self.conv_out(F.silu(self.norm_out(h)))
        return rearrange(h, "b (c s1 s2) h w -> b c (h s1) (w s2)", s1=self.stem, s2=self.stem)


class Autoencoder(FirstStage):
    """Encoder, decoder and the 1x1 convolutions around the latents, shared by the KL and the VQ first stage.

    `moment_maps` is 2 where the encoder gives mean and log-variance, else 1.
    """

    trainable = True

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
        moment_maps: int,
    ) -> None:
        super().__init__()
        widths, factors = check_architecture(ch, ch_mult, num_res_blocks, attn_factors, dropout, stem)
        z = positive("z_channels", z_channels)
        self.latent_channels = z
        self.downsample = factors[-1]
        if isinstance(mid_blocks, bool) or not isinstance(mid_blocks, int) or mid_blocks < 0:
            raise ConfigError("first_stage.mid_blocks", "an integer of at least 0 (the paper: 2)", mid_blocks)
        common = (num_res_blocks, tuple(attn_factors), mid_blocks, mid_attention, dropout, stem)
        self.encoder = Encoder(widths, factors, moment_maps * z, *common)
        self.decoder = Decoder(widths, factors, z, *common)
        self.quant_conv = nn.Conv2d(moment_maps * z, moment_maps * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)

    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's output convolution."""
        weight = self.decoder.conv_out.weight
        if not isinstance(weight, nn.Parameter):
            raise TypeError("the output convolution's weight is not a parameter")
        return weight

    def encoded(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b m h w"]:
        """What the encoder says of images in [-1, 1]; at least float32."""
        self.latent_shape(x.shape[-2], x.shape[-1])
        h = self.quant_conv(self.encoder(x))
        return h if h.dtype.itemsize >= 4 else h.float()

    def decoded(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images of latents as the decoder takes them (already quantised for VQ); at least float32."""
        x_hat = self.decoder(self.post_quant_conv(z))
        return x_hat if x_hat.dtype.itemsize >= 4 else x_hat.float()
