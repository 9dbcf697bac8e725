"""Captions through a frozen, pretrained text encoder (CLIP's in Stable Diffusion v1), cached once a caption."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.row_lookup import RowLookup
from ablatent.conditioning.source import Source
from ablatent.conditioning.text_encoder import CaptionEncoder
from ablatent.core.arrays import new_array
from ablatent.core.blocks import Blocks
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, OneOf, Probability
from ablatent.core.files import read_json, write_json
from ablatent.core.types import Cond

STATES, COUNTS, CAPTIONS = "states.npy", "counts.npy", "captions.json"
STORED = ("float16", "float32")


class FrozenText(Conditioner):
    """Token states of the encoder's last layer, padding masked.

    The encoder is no part of the state dict: snapshots hold the projection alone. width: of a linear layer that is
    trained with the network and maps the states to its context; None: the states as they are. stored: precision of the
    states, cached or not. dropout: probability of the null condition, the empty caption, in training. pretrained:
    whether the encoder may be loaded; False gives zeros, to try shapes out.
    """

    needs = ("captions",)
    filled = ("pretrained",)
    cached = ("encoder", "max_length", "stored")

    def __init__(
        self,
        encoder: Annotated[CaptionEncoder, "frozen"],
        pretrained: bool,
        width: Annotated[Count | None, "of a trained linear map of the states; null: as they are"] = None,
        max_length: Annotated[int, Ge(2), "tokens a caption, both ends included"] = 77,
        stored: Annotated[str, OneOf(("float16", "float32")), "precision of the cached states"] = "float16",
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.1,
    ) -> None:
        super().__init__(dropout)
        if width is not None and (not isinstance(width, int) or width < 1):
            raise ConfigError("conditioner.width", "an integer >= 1, or null", width)
        if not isinstance(max_length, int) or not 3 <= max_length <= encoder.longest:
            what = f"an integer from 3 to {encoder.longest}, which {encoder.name} takes"
            raise ConfigError("conditioner.max_length", what, max_length)
        if stored not in STORED:
            raise ConfigError("conditioner.stored", " or ".join(STORED), stored)
        self.encoder, self.pretrained, self.stored = encoder, pretrained, stored
        self.context_dim, self.length = width or encoder.dim, max_length
        self.projection = None if width is None else nn.Linear(encoder.dim, width)
        # of the empty caption, since the first rows; a buffer, so that it moves with the module
        self.empty: Tensor
        self.register_buffer("empty", torch.zeros(max_length, encoder.dim), persistent=False)
        self._empty_count = 0

    @classmethod
    def cache(
        cls,
        options: Mapping[str, Any],
        captions: Sequence[str],
        folder: Path,
        device: torch.device,
        title: str,
        blocks: Blocks,
    ) -> dict[str, Any]:
        """states.npy (u, max_length, dim), zeros behind the last token; counts.npy (u,): tokens that count;
        captions.json."""
        text = cls(pretrained=True, **options).to(device)
        _, counts = text.encode(captions, title, folder, blocks)
        return {
            "tokens": int(counts.sum()),
            "longest": int(counts.max(initial=0)),
            "width": text.encoder.dim,
            "encoder": text.encoder.served(),
        }

    def rows(self, source: Source) -> Rows:
        """The cached states where the source has them, else encoded now. Raises DataError for a caption not cached."""
        source.check(self.needs)
        captions = list(source.annotations.captions or [])
        unique = list(dict.fromkeys([*captions, ""]))
        if source.embeddings is not None:
            unique, states, counts = load(source.embeddings)
        elif self.pretrained:
            states, counts = self.encode(unique)
        else:
            states, counts = np.zeros((len(unique), *self.empty.shape), np.float32), np.full(len(unique), 2)
        place = {caption: i for i, caption in enumerate(unique)}
        missing = [caption for caption in [*captions, ""] if caption not in place]
        if missing:
            raise DataError(f"{source.embeddings}: expected every caption of the data; got none for {missing[0]!r}.")
        self._keep_empty(states[place[""]], counts[place[""]])
        index = np.asarray([place[caption] for caption in captions], dtype=np.int64)
        return {"state": RowLookup(states, index), "count": counts[index]}

    def encode(
        self, captions: Sequence[str], title: str = "", into: Path | None = None, blocks: Blocks | None = None
    ) -> tuple[Float[np.ndarray, "u l d"], Int64[np.ndarray, " u"]]:
        """(states, zeros behind the last token; number of tokens that count), a row a caption.

        title: of the progress bar; into: a folder that keeps them; they are then memory-mapped; blocks: what is
        finished of it.
        """
        blocks = Blocks() if blocks is None else blocks
        shape, dtype = (len(captions), self.length, self.encoder.dim), np.dtype(self.stored)
        states = np.zeros(shape, dtype)
        if into is not None:
            states = new_array(into / STATES, dtype, shape)
        counts = np.zeros(len(captions), dtype=np.int64)
        for rows, given, count in self.encoder(captions, self.length, self.empty.device, title, blocks.done):
            real = np.arange(given.shape[1]) < rearrange(count, "b -> b 1")
            padded = np.zeros((len(rows), *shape[1:]), dtype)
            padded[:, : given.shape[1]] = given.cpu().numpy() * rearrange(real, "b l -> b l 1")
            blocks.add(len(rows), rows=rows, states=padded, counts=count)
        for part in blocks:
            states[part["rows"]], counts[part["rows"]] = part["states"], part["counts"]
        if into is not None:
            states.flush()  # type: ignore[attr-defined]
            np.save(into / COUNTS, counts)
            write_json(into / CAPTIONS, list(captions))
        return states, counts

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["state"]: (b, max_length, encoder.dim); batch["count"]: (b,), tokens that are no padding."""
        device = self.empty.device
        states, counts = batch["state"].to(device), batch["count"].to(device)
        mask = torch.arange(self.length, device=device) < rearrange(counts, "b -> b 1")
        return Cond(tokens=states if self.projection is None else self.projection(states), mask=mask)

    def null(self, like: Cond) -> Cond:
        """The empty caption."""
        if self._empty_count == 0:
            states, counts = self.encode([""])
            self._keep_empty(states[0], counts[0])
        n = 0 if like.tokens is None else len(like.tokens)
        count = torch.full((1,), self._empty_count)
        state = rearrange(self.empty, "l d -> 1 l d")
        return self.embed({"state": state, "count": count}).rows(torch.zeros(n, dtype=torch.int64))

    def _keep_empty(self, state: Float[np.ndarray, "l d"], count: int | np.integer) -> None:
        self.empty.copy_(torch.from_numpy(state.astype(np.float32)))
        self._empty_count = int(count)


def load(folder: Path) -> tuple[list[str], np.ndarray, Int64[np.ndarray, " u"]]:
    """(captions, states, memory-mapped, counts) as `encode` wrote them into a folder.

    Raises DataError for a folder that lacks a file, or whose files do not belong together.
    """
    try:
        captions: list[str] = list(read_json(folder / CAPTIONS))
        states, counts = np.load(folder / STATES, mmap_mode="r"), np.load(folder / COUNTS)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise DataError(f"{folder}: expected {STATES}, {COUNTS} and {CAPTIONS}; got {error}") from error
    if not len(captions) == len(states) == len(counts):
        raise DataError(f"{folder}: expected a row a caption; got {len(captions)}, {len(states)}, {len(counts)} rows.")
    return captions, states, counts
