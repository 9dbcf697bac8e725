"""Convolution blocks shared by the denoising U-Net and the first-stage autoencoders.

They follow the ADM blocks (Dhariwal & Nichol 2021, appendix A) as Rombach et al. 2022 use them.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError

_MAX_GROUPS = 32


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or fewer where a group would have less than four channels; eps 1e-6.

    A group's mean and scale are removed. With one channel a group (32 groups of a width of 32) a network would see
    neither the contrast of a feature nor an embedding that is added to whole channels.
    """
    if channels < 1:
        raise ConfigError("network.channels", "an integer >= 1", channels, "give every level at least one channel")
    groups = max(g for g in range(1, _MAX_GROUPS + 1) if channels % g == 0 and (g == 1 or channels // g >= 4))
    return nn.GroupNorm(groups, channels, eps=1e-6)


def fast_convolutions(network: nn.Module) -> None:
    """Lay the weights out channels-last, in place, and with them the maps of every convolution: faster on CPUs from
    maps of 16x16 on, and on GPUs with tensor cores. Shapes, names and state dicts stay.
    """
    for weight in network.parameters():
        if weight.ndim == 4:  # one by one: Module.to cannot exchange the fake tensors of a plan
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def silu(x: Tensor) -> Tensor:
    """SiLU of an intermediate value that nobody else reads: in place where no gradient needs it."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResBlock(nn.Module):
    """GroupNorm-SiLU-conv3x3 twice around a residual, optionally modulated by an embedding.

    With `emb_ch` the embedding is added between the convolutions, or (with `scale_shift`) modulates the second
    normalisation as h * (1 + scale) + shift. Without `emb_ch` it is the plain block of the autoencoders. The second
    convolution starts at zero, so that the block starts as its skip path (ADM).
    """

    def __init__(
        self,
        in_ch: int,
        out_ch: int,
        emb_ch: int | None = None,
        dropout: float = 0.0,
        scale_shift: bool = False,
    ) -> None:
        super().__init__()
        if scale_shift and emb_ch is None:
            raise ConfigError(
                "network.scale_shift", "false for a block without embedding", scale_shift, "set emb_ch or scale_shift"
            )
        self.scale_shift = scale_shift
        self.norm1 = norm(in_ch)
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.emb = None if emb_ch is None else nn.Linear(emb_ch, out_ch * (2 if scale_shift else 1))
        self.norm2 = norm(out_ch)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        self.skip = nn.Identity() if in_ch == out_ch else nn.Conv2d(in_ch, out_ch, 1)
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(
        self, x: Float[Tensor, "b in_ch h w"], emb: Float[Tensor, "b emb_ch"] | None = None
    ) -> Float[Tensor, "b out_ch h w"]:
        """Apply the block; `emb` must be given exactly when the block was built with `emb_ch`."""
        if (emb is None) != (self.emb is None):
            raise ValueError("ResBlock: pass emb exactly when the block was built with emb_ch")
        h = self.second_half(self.conv1(silu(self.norm1(x))), emb)
        return h.add_(self.skip(x))

    def second_half(
        self, h: Float[Tensor, "b out_ch h w"], emb: Float[Tensor, "b emb_ch"] | None
    ) -> Float[Tensor, "b out_ch h w"]:
        """From the first convolution's output to the residual: embedding, norm, dropout, second convolution."""
        if self.emb is None or emb is None:
            h = self.norm2(h)
        else:
            e = rearrange(self.emb(F.silu(emb)), "b c -> b c 1 1").to(h.dtype)
            if self.scale_shift:
                scale, shift = e.chunk(2, dim=1)
                h = self.norm2(h) * (1 + scale) + shift
            else:
                h = self.norm2(h.add_(e))
        return self.conv2(self.dropout(silu(h)))


class SelfAttention2d(nn.Module):
    """Residual multi-head self-attention over all positions of a feature map, normalised first.

    `head_ch` is the number of channels per head; None means a single head (the autoencoders).
    """

    def __init__(self, ch: int, head_ch: int | None = None) -> None:
        super().__init__()
        if head_ch is not None and (head_ch < 1 or ch % head_ch != 0):
            raise ConfigError("network.head_channels", f"a divisor of {ch}", head_ch, "choose a divisor of it")
        self.heads = 1 if head_ch is None else ch // head_ch
        self.norm = norm(ch)
        self.qkv = nn.Conv2d(ch, 3 * ch, 1)
        self.out = nn.Conv2d(ch, ch, 1)

    def forward(self, x: Float[Tensor, "b ch h w"]) -> Float[Tensor, "b ch h w"]:
        """Attend from every position to every position and add the result to `x`."""
        qkv = rearrange(self.qkv(self.norm(x)), "b (qkv n d) h w -> qkv b n (h w) d", qkv=3, n=self.heads)
        q, k, v = qkv.unbind(0)
        h = F.scaled_dot_product_attention(q, k, v)
        return self.out(rearrange(h, "b n (h w) d -> b (n d) h w", h=x.shape[2], w=x.shape[3])).add_(x)


class Downsample(nn.Module):
    """Halve height and width with a stride-2 3x3 convolution.

    Padded by one on every side (ADM), or with `end_padding` only below and on the right, as the published
    autoencoders are: their weights give other images otherwise.
    """

    def __init__(self, ch: int, end_padding: bool = False) -> None:
        super().__init__()
        self.end_padding = end_padding
        self.conv = nn.Conv2d(ch, ch, 3, stride=2, padding=0 if end_padding else 1)

    def forward(self, x: Float[Tensor, "b ch h w"]) -> Float[Tensor, "b ch h2 w2"]:
        """Return the map at half resolution."""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.end_padding else x)


class Upsample(nn.Module):
    """Double height and width by nearest neighbour, then a 3x3 convolution."""

    def __init__(self, ch: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ch, ch, 3, padding=1)

    def forward(self, x: Float[Tensor, "b ch h w"]) -> Float[Tensor, "b ch h2 w2"]:
        """Return the map at double resolution."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
