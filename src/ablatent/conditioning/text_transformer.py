"""LDM's text model (Rombach et al. 2022, section 4.3.1 and table 15): a transformer encoder, trained with the network.

The architecture is that of the released `BERTEmbedder`: the encoder of x-transformers at its default settings, that is
learned positions, pre-norm blocks, queries, keys and values without bias, a GELU feed-forward of four times the width.
Nothing of BERT but its vocabulary is used.
"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from einops import rearrange
from jaxtyping import Integer
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.source import Source
from ablatent.conditioning.tokens import Vocabulary
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Probability
from ablatent.core.types import Cond
from ablatent.networks.encoder import EncoderBlock

VOCABULARY = 30_522


class TextTransformer(Conditioner):
    """Captions -> tokens of BERT's vocabulary -> `depth` transformer blocks -> one context token each.

    width: of the context tokens. max_length: tokens a caption, [CLS] and [SEP] included; shorter ones are filled up
    with [PAD], longer ones are cut, with a message. mask_padding: whether padding is hidden from the tokens and from
    the network; the released model looks at it. unused_logits: hold the released model's map to the vocabulary, which
    nothing reads (39.10M of its 581.99M parameters), so that its weights come and go whole. dropout: probability of
    the null condition, the empty caption, in training.
    """

    needs = ("captions",)

    def __init__(
        self,
        *,
        tokenizer: Annotated[Vocabulary, "BERT word pieces"],
        width: Annotated[Count, "of the tokens"],
        depth: Annotated[Count, "layers"],
        heads: Annotated[Count, "attention heads"] = 8,
        head_channels: Annotated[Count, "channels of a head"] = 64,
        max_length: Annotated[int, Ge(2), "tokens a caption, [CLS] and [SEP] included"] = 77,
        mask_padding: Annotated[bool, "the network does not see the padding; the paper: false"] = True,
        unused_logits: Annotated[bool, "hold the map to logits of the released model, which nothing reads"] = False,
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.1,
    ) -> None:
        super().__init__(dropout)
        sizes = {"width": width, "depth": depth, "heads": heads, "head_channels": head_channels}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ConfigError(f"conditioner.{name}", "an integer >= 1", size)
        if not isinstance(max_length, int) or max_length < 3:
            raise ConfigError("conditioner.max_length", "an integer >= 3: [CLS], a token, [SEP]", max_length)
        self.tokenizer, self.mask_padding = tokenizer, mask_padding
        self.context_dim, self.length = width, max_length
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(max_length, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, head_channels) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, VOCABULARY) if unused_logits else None
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def rows(self, source: Source) -> Rows:
        source.check(self.needs)
        ids, counts = self.tokenizer(source.annotations.captions or [], self.length)
        return {"token": ids, "count": counts}

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["token"]: (b, max_length); batch["count"]: (b,), tokens that are no padding."""
        device = self.tokens.weight.device
        return self._cond(batch["token"].to(device), batch["count"].to(device))

    def null(self, like: Cond) -> Cond:
        """The empty caption, through the same network."""
        ids, counts = (torch.from_numpy(np.asarray(v)) for v in self.tokenizer([""], self.length))
        n = 0 if like.tokens is None else len(like.tokens)
        return self.embed({"token": ids, "count": counts}).rows(torch.zeros(n, dtype=torch.int64))

    def _cond(self, ids: Integer[Tensor, "b l"], counts: Integer[Tensor, " b"]) -> Cond:
        places = torch.arange(self.length, device=ids.device)
        mask = places < rearrange(counts, "b -> b 1") if self.mask_padding else None
        x = self.tokens(ids) + self.positions(places)
        for block in self.blocks:
            x = block(x, mask)
        return Cond(tokens=self.norm(x), mask=mask)
