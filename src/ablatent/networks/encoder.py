"""A transformer encoder over token numbers, as latent diffusion trains it for texts and layouts.

Rombach et al. 2022, appendix E.2.1; the released models take the encoder of x-transformers at its default settings:
learned positions, LayerNorm before each part, queries, keys and values without bias, a GELU feed-forward.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ablatent.core.errors import ConfigError


class EncoderAttention(nn.Module):
    """Self-attention of tokens, `heads` times `head_channels` wide inside."""

    def __init__(self, width: int, heads: int, head_channels: int) -> None:
        super().__init__()
        inner = heads * head_channels
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def forward(self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b l d"]:
        """Attend from every token to every other. mask: True where a token may be read, at least one a row."""
        q, k, v = (rearrange(to(x), "b l (n c) -> b n l c", n=self.heads) for to in (self.to_q, self.to_k, self.to_v))
        seen = None if mask is None else rearrange(mask, "b l -> b 1 1 l")
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.to_out(rearrange(h, "b n l c -> b l (n c)"))


class EncoderBlock(nn.Module):
    """Attention, and a feed-forward four times as wide, each behind a LayerNorm and inside a residual."""

    def __init__(self, width: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = EncoderAttention(width, heads, head_channels)
        self.inner, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b l d"]:
        """Apply the block. mask: as in `EncoderAttention`."""
        x = x + self.attention(self.norm1(x), mask)
        return x + self.out(F.gelu(self.inner(self.norm2(x))))


class TokenEncoder(nn.Module):
    """Token numbers -> one vector each, every token seeing all others.

    vocabulary: how many different tokens; length: the most tokens in a row; width, depth, heads, head_channels: of the
    blocks. unused_logits: hold the released models' map to the vocabulary, which nothing reads, and which their
    parameter counts include. Raises ConfigError for sizes below 1.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        width: int,
        depth: int,
        heads: int = 8,
        head_channels: int = 64,
        unused_logits: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"vocabulary": vocabulary, "length": length, "width": width, "depth": depth}
        for key, value in (sizes | {"heads": heads, "head_channels": head_channels}).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"conditioner.{key}", "an integer >= 1", value)
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, head_channels) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, vocabulary) if unused_logits else None
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b l d"]:
        """The state of each token.

        ids: in 0 … vocabulary - 1, at most `length` a row. mask: True where a token counts, at least one a row.
        """
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)
