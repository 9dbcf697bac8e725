"""Time embedding and attention of the denoising networks; the U-Net's resizing ResBlocks and token transformer.

Time embedding: Ho et al. 2020 after Vaswani et al. 2017. SpatialTransformer: Rombach et al. 2022, section 3.3 and
appendix E.2.1.
"""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ablatent.networks.blocks import ResBlock, norm, silu

M = TypeVar("M", bound=nn.Module)


def zero_init(module: M) -> M:
    """Set weights and bias to zero, in place, and return the module: what it ends starts as the identity."""
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


def timestep_embedding(
    t: Float[Tensor, " b"], dim: int, max_period: float = 10_000.0, reach_end: bool = False
) -> Float[Tensor, "b {dim}"]:
    """Cosines, then sines, of t at dim // 2 frequencies from 1 down towards 1 / max_period.

    t: real-valued times in [0, T-1]. reach_end: the last frequency is 1 / max_period, not one step before it. An odd
    `dim` ends in a zero column. Same dtype as t.
    """
    half = dim // 2
    exponent = torch.arange(half, dtype=t.dtype, device=t.device) / max(half - reach_end, 1)
    angles = rearrange(t, "b -> b 1") * torch.exp(-math.log(max_period) * exponent)
    embedding = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
    return F.pad(embedding, (0, dim - 2 * half))


class ResizeBlock(ResBlock):
    """A ResBlock that halves or doubles height and width, between the first norm and convolution and on the skip path.

    Average pooling down, nearest neighbour up (Brock et al. 2019; Dhariwal & Nichol 2021).
    """

    def __init__(self, ch: int, emb_ch: int, dropout: float, scale_shift: bool, up: bool) -> None:
        super().__init__(ch, ch, emb_ch, dropout, scale_shift)
        self.resize = nn.Upsample(scale_factor=2.0, mode="nearest") if up else nn.AvgPool2d(2)

    def forward(
        self, x: Float[Tensor, "b ch h w"], emb: Float[Tensor, "b emb_ch"] | None = None
    ) -> Float[Tensor, "b ch h2 w2"]:
        """Apply the block; `emb` is required."""
        if self.emb is None or emb is None:
            raise ValueError("ResizeBlock: pass emb")
        h = self.conv1(self.resize(silu(self.norm1(x))))
        return self.second_half(h, emb).add_(self.resize(x))


class Attention(nn.Module):
    """Multi-head attention of x over itself, or over `context` (queries from x, keys and values from context).

    `bias`: whether the projections to query, key and value have one; the output projection has. `qk_norm`: queries and
    keys of each head are divided by their root mean square and scaled by one learned factor a channel, equal in all
    heads (RMSNorm; Esser et al. 2024, section 5.3.2), so that no logit grows with the weights of the projections.
    """

    def __init__(
        self, dim: int, heads: int, context_dim: int | None = None, bias: bool = False, qk_norm: bool = False
    ) -> None:
        super().__init__()
        source = dim if context_dim is None else context_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(source, dim, bias=bias)
        self.to_v = nn.Linear(source, dim, bias=bias)
        self.to_out = nn.Linear(dim, dim)
        self.norm_q, self.norm_k = (nn.RMSNorm(dim // heads, eps=1e-6) if qk_norm else None for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b l c"] | None = None,
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Attend, without residual. mask: True where a token of the context counts, at least one a row."""
        source = x if context is None else context
        q, k, v = (
            rearrange(y, "b n (heads d) -> b heads n d", heads=self.heads)
            for y in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        if self.norm_q is not None and self.norm_k is not None:
            # In the dtype of the factors: under autocast, that is float32.
            q, k = (n(y.to(n.weight.dtype)).to(v.dtype) for n, y in ((self.norm_q, q), (self.norm_k, k)))
        attn_mask = None if mask is None else rearrange(mask, "b l -> b 1 1 l")
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))


class FeedForward(nn.Module):
    """GEGLU feed-forward, four times as wide inside (Shazeer 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, 8 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Apply it to each token."""
        value, gate = self.inner(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, each behind a LayerNorm and inside a residual."""

    def __init__(self, dim: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.cross_attn = Attention(dim, heads, context_dim)
        self.ff = FeedForward(dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "b n d"], tokens: Float[Tensor, "b l c"], mask: Bool[Tensor, "b l"] | None
    ) -> Float[Tensor, "b n d"]:
        """Apply the block. mask: True where a token counts, at least one a row."""
        x = x + self.self_attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), tokens, mask)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map, which read the condition's tokens.

    The 1x1 output convolution starts at zero, so that the module starts as the identity.
    """

    def __init__(self, ch: int, heads: int, depth: int, context_dim: int) -> None:
        super().__init__()
        self.norm = norm(ch)
        self.proj_in = nn.Conv2d(ch, ch, 1)
        self.blocks = nn.ModuleList(TransformerBlock(ch, heads, context_dim) for _ in range(depth))
        self.proj_out = zero_init(nn.Conv2d(ch, ch, 1))

    def forward(
        self,
        x: Float[Tensor, "b ch h w"],
        tokens: Float[Tensor, "b l c"],
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b ch h w"]:
        """Apply the blocks and add the result to x. mask: True where a token counts, at least one a row."""
        h = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        for block in self.blocks:
            h = block(h, tokens, mask)
        return x + self.proj_out(rearrange(h, "b (h w) c -> b c h w", h=x.shape[2], w=x.shape[3]))
