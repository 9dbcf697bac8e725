"""Convolutional encoder and decoder of the latent diffusion paper (Rombach et al. 2022, appendix G; Esser et al. 2021).

Level i has ch * ch_mult[i] channels at 1 / (stem * 2^i) of the image's resolution. `stem` 2 or 4 folds pixels into
channels before the first convolution and unfolds them after the last: full-resolution convolutions are what costs on
a CPU. stem 1 is the paper's architecture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Len
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, OneOf, Probability, Whole
from ablatent.first_stage.base import FirstStage
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, Upsample, fast_convolutions, norm, silu

STEMS = (1, 2, 4)


def positive(key: str, value: object) -> int:
    """`value` as an integer >= 1, or ConfigError at `first_stage.key`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"first_stage.{key}", "an integer >= 1", value)
    return value


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What encoder and decoder have in common, checked. The names are those of the configuration.

    ch, ch_mult: width of level i is ch * ch_mult[i]; num_res_blocks: a level; z_channels: of the latents; attn_factors:
    downsample factors of the levels with self-attention; mid_blocks, mid_attention: residual blocks at the lowest
    resolution (the paper: 2), and whether attention follows the first; dropout: inside residual blocks, in [0, 1);
    stem: see the module; image_channels: 3 (RGB) or 1 (grey). Raises ConfigError for options that describe no network.
    """

    ch: int
    ch_mult: Sequence[int]
    num_res_blocks: int
    z_channels: int
    attn_factors: Sequence[int]
    mid_blocks: int
    mid_attention: bool
    dropout: float
    stem: int
    image_channels: int = 3

    def __post_init__(self) -> None:
        positive("image_channels", self.image_channels)
        positive("ch", self.ch)
        positive("num_res_blocks", self.num_res_blocks)
        if self.stem not in STEMS:
            raise ConfigError("first_stage.stem", "1 (the paper), 2 or 4", self.stem)
        if isinstance(self.ch_mult, str) or not isinstance(self.ch_mult, Sequence) or len(self.ch_mult) == 0:
            raise ConfigError("first_stage.ch_mult", "a list of channel multipliers such as [1, 2, 4]", self.ch_mult)
        for multiplier in self.ch_mult:
            positive("ch_mult", multiplier)
        if isinstance(self.attn_factors, str) or not isinstance(self.attn_factors, Sequence):
            raise ConfigError(
                "first_stage.attn_factors", "a list of downsample factors, [] for none", self.attn_factors
            )
        for f in self.attn_factors:
            if f not in self.factors:
                expected = f"factors that have a level: {list(self.factors)}"
                raise ConfigError("first_stage.attn_factors", expected, f)
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError("first_stage.dropout", "a number in [0, 1)", self.dropout)
        positive("z_channels", self.z_channels)
        if isinstance(self.mid_blocks, bool) or not isinstance(self.mid_blocks, int) or self.mid_blocks < 0:
            raise ConfigError("first_stage.mid_blocks", "an integer of at least 0 (the paper: 2)", self.mid_blocks)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from fine to coarse."""
        return tuple(self.ch * multiplier for multiplier in self.ch_mult)

    @property
    def factors(self) -> tuple[int, ...]:
        """Downsample factor of each level, from fine to coarse."""
        return tuple(self.stem * 2**i for i in range(len(self.ch_mult)))

    def level(self, in_ch: int, width: int, factor: int, blocks: int) -> list[nn.Module]:
        """`blocks` residual blocks from in_ch to `width` channels, attention after each where the level has some."""
        body: list[nn.Module] = []
        for n in range(blocks):
            body.append(ResBlock(width if n else in_ch, width, dropout=self.dropout))
            if factor in self.attn_factors:
                body.append(SelfAttention2d(width))
        return body

    def middle(self) -> nn.Sequential:
        """The blocks at the lowest resolution."""
        ch = self.widths[-1]
        body: list[nn.Module] = [ResBlock(ch, ch, dropout=self.dropout) for _ in range(self.mid_blocks)]
        if self.mid_attention:
            body.insert(1, SelfAttention2d(ch))
        return nn.Sequential(*body)


class Encoder(nn.Module):
    """Images to `out_channels` feature maps at the lowest resolution."""

    def __init__(self, architecture: Architecture, out_channels: int) -> None:
        super().__init__()
        self.stem = architecture.stem
        ch = architecture.widths[0]
        self.conv_in = nn.Conv2d(architecture.image_channels * self.stem**2, ch, 3, padding=1)
        body: list[nn.Module] = []
        for level, (width, factor) in enumerate(zip(architecture.widths, architecture.factors, strict=True)):
            if level > 0:
                body.append(Downsample(ch, end_padding=True))
            body += architecture.level(ch, width, factor, architecture.num_res_blocks)
            ch = width
        self.body = nn.Sequential(*body, architecture.middle())
        self.norm_out = norm(ch)
        self.conv_out = nn.Conv2d(ch, out_channels, 3, padding=1)
        fast_convolutions(self)

    def forward(self, x: Float[Tensor, "b C H W"]) -> Float[Tensor, "b c h w"]:
        """Feature maps of images in [-1, 1]."""
        h = rearrange(x, "b c (h s1) (w s2) -> b (c s1 s2) h w", s1=self.stem, s2=self.stem)
        h = self.body(self.conv_in(h))
        return self.conv_out(silu(self.norm_out(h)))


class Decoder(nn.Module):
    """Latents of `in_channels` to images; one residual block more per level than the encoder, as in the reference."""

    def __init__(self, architecture: Architecture, in_channels: int) -> None:
        super().__init__()
        self.stem = architecture.stem
        ch = architecture.widths[-1]
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        body: list[nn.Module] = [architecture.middle()]
        levels = list(zip(architecture.widths, architecture.factors, strict=True))
        for level, (width, factor) in reversed(list(enumerate(levels))):
            body += architecture.level(ch, width, factor, architecture.num_res_blocks + 1)
            ch = width
            if level > 0:
                body.append(Upsample(ch))
        self.body = nn.Sequential(*body)
        self.norm_out = norm(ch)
        self.conv_out = nn.Conv2d(ch, architecture.image_channels * self.stem**2, 3, padding=1)
        fast_convolutions(self)

    def forward(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images, not clipped."""
        h = self.body(self.conv_in(z))
        h = self.conv_out(silu(self.norm_out(h)))
        return rearrange(h, "b (c s1 s2) h w -> b c (h s1) (w s2)", s1=self.stem, s2=self.stem)


class Autoencoder(FirstStage):
    """Encoder, decoder and the 1x1 convolutions around the latents, shared by the KL and the VQ first stage.

    Arguments: those of `Architecture`. `moment_maps` is 2 where the encoder gives mean and log-variance, else 1.
    """

    trainable = True
    moment_maps: ClassVar[int] = 1

    def __init__(
        self,
        *,
        ch: Annotated[Count, "channels of the first level"],
        ch_mult: Annotated[Sequence[Count], Len(1), "channels of level i: ch * ch_mult[i]"],
        num_res_blocks: Annotated[Count, "residual blocks of a level"],
        z_channels: Annotated[Count, "channels of the latents"],
        attn_factors: Annotated[Sequence[Count], "downsampling factors of the levels with self-attention"],
        mid_blocks: Annotated[Whole, "residual blocks between levels and latents; the paper: 2"],
        mid_attention: Annotated[bool, "attention between them"],
        dropout: Annotated[Probability, "dropout inside the blocks"],
        stem: Annotated[int, OneOf((1, 2, 4)), "pixels a side folded into channels at the input; the paper: 1"],
        image_channels: Annotated[int, OneOf((1, 3)), "of the images: those of the data"] = 3,
    ) -> None:
        super().__init__()
        architecture = Architecture(
            ch=ch,
            ch_mult=ch_mult,
            num_res_blocks=num_res_blocks,
            z_channels=z_channels,
            attn_factors=attn_factors,
            mid_blocks=mid_blocks,
            mid_attention=mid_attention,
            dropout=dropout,
            stem=stem,
            image_channels=image_channels,
        )
        self.latent_channels, self.image_channels = z_channels, image_channels
        self.downsample = architecture.factors[-1]
        maps = self.moment_maps * z_channels
        self.encoder = Encoder(architecture, maps)
        self.decoder = Decoder(architecture, z_channels)
        self.quant_conv = nn.Conv2d(maps, maps, 1)
        self.post_quant_conv = nn.Conv2d(z_channels, z_channels, 1)

    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's output convolution."""
        weight = self.decoder.conv_out.weight
        if not isinstance(weight, nn.Parameter):
            raise TypeError("the output convolution's weight is not a parameter")
        return weight

    def encoded(self, x: Float[Tensor, "b C H W"]) -> Float[Tensor, "b m h w"]:
        """The encoder's maps of images in [-1, 1], m = moment_maps * z_channels of them; at least float32."""
        self.latent_shape(x.shape[-2], x.shape[-1])
        h = self.quant_conv(self.encoder(x))
        return h if h.dtype.itemsize >= 4 else h.float()

    def decoded(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C H W"]:
        """Images of latents as the decoder takes them (already quantised for VQ); at least float32."""
        x_hat = self.decoder(self.post_quant_conv(z))
        return x_hat if x_hat.dtype.itemsize >= 4 else x_hat.float()
