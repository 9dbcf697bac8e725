"""A transformer encoder over token numbers, as latent diffusion trains it for texts and layouts.

Rombach et al. 2022, appendix E.2.1 and tables 16 and 17; the released models take x-transformers' encoder, version of
2021: LayerNorm before each part, heads of 64 channels whatever the width, learned positions.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError


class EncoderLayer(nn.Module):
    """Self-attention and a GELU feed-forward four times as wide, each behind a LayerNorm and inside a residual."""

    def __init__(self, dim: int, heads: int, head_channels: int) -> None:
        super().__init__()
        inner = heads * head_channels
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.Linear(inner, dim)
        self.ff = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"] | None) -> Float[Tensor, "b l d"]:
        h = self.norm1(x)
        q, k, v = (rearrange(to(h), "b l (n c) -> b n l c", n=self.heads) for to in (self.to_q, self.to_k, self.to_v))
        seen = None if mask is None else rearrange(mask, "b l -> b 1 1 l")
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + self.to_out(rearrange(h, "b n l c -> b l (n c)"))
        return x + self.ff(self.norm2(x))


class TokenEncoder(nn.Module):
    """Token numbers -> one vector each, every token seeing all others.

    vocabulary: how many different tokens; length: the most tokens in a row; dim: width; depth: layers; heads,
    head_channels: of attention. output_layer: carry a layer over the vocabulary that nothing reads, as the released
    models do and their parameter counts include. Raises ConfigError for sizes below 1.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        dim: int,
        depth: int,
        heads: int = 8,
        head_channels: int = 64,
        output_layer: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"vocabulary": vocabulary, "length": length, "dim": dim, "depth": depth}
        for key, value in (sizes | {"heads": heads, "head_channels": head_channels}).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"conditioner.{key}", "an integer >= 1", value)
        self.length = length
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(length, dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, head_channels) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.to_logits = nn.Linear(dim, vocabulary) if output_layer else None
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b l d"]:
        """ids: in 0 … vocabulary - 1, at most `length` a row. mask: True where a token counts, at least one a row."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)
