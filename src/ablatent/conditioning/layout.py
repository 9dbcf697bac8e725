"""Layouts: boxes of objects as tokens (Rombach et al. 2022, section 4.3.1 and table 17).

A box is three tokens of one vocabulary: its class, its upper left and its lower right corner on a square grid of
cells, as in the layout models of Esser et al. 2021. A transformer, trained along, reads all of them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from einops import rearrange, repeat
from jaxtyping import Int, UInt8
from torch import Tensor

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.palette import palette
from ablatent.conditioning.source import Source, class_index, data_with
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, Probability
from ablatent.core.progress import counted
from ablatent.core.types import Cond
from ablatent.data.boxes import Box
from ablatent.networks.encoder import TokenEncoder

PER_BOX = 3


class Layout(Conditioner):
    """Three context tokens for each of up to `max_boxes` boxes. The null condition is an image without boxes.

    vocabulary: number of tokens; classes take the first, corners the floor(sqrt(vocabulary))² first as well (what a
    token means follows from its place), and the last stands for "no box". Of more boxes than max_boxes, the largest
    count. width, depth, heads, head_channels, unused_logits: of the transformer, see `TokenEncoder`.
    """

    needs = ("boxes",)
    filled = ("classes", "size")

    def __init__(
        self,
        *,
        classes: int,
        size: int,
        width: Annotated[Count, "of the tokens"],
        depth: Annotated[Count, "layers of the transformer"],
        max_boxes: Annotated[Count, "boxes that are read; of more, the largest"] = 30,
        vocabulary: Annotated[
            int, Ge(4), "of classes, and of corners on a grid of sqrt(vocabulary) cells a side"
        ] = 8192,
        heads: Annotated[Count, "attention heads"] = 8,
        head_channels: Annotated[Count, "channels of a head"] = 64,
        unused_logits: Annotated[
            bool, "carry the layer over the vocabulary that released models have and nothing reads"
        ] = False,
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.1,
    ) -> None:
        super().__init__(dropout)
        if classes < 1:
            raise ConfigError(
                "conditioner", "data with boxes of objects", counted(classes, "class", "classes"), data_with("boxes")
            )
        if not isinstance(max_boxes, int) or max_boxes < 1:
            raise ConfigError("conditioner.max_boxes", "an integer >= 1", max_boxes)
        if not isinstance(vocabulary, int) or vocabulary < max(classes + 1, 17):
            expected = f"an integer of at least {max(classes + 1, 17)}, for {classes} classes and a grid of corners"
            raise ConfigError("conditioner.vocabulary", expected, vocabulary)
        self.classes, self.size, self.none = classes, size, vocabulary - 1
        self.max_boxes: int = max_boxes
        self.cells = math.isqrt(vocabulary - 1)
        self.context_dim, self.length = width, PER_BOX * max_boxes
        self.encoder = TokenEncoder(
            vocabulary=vocabulary,
            length=self.length,
            width=width,
            depth=depth,
            heads=heads,
            head_channels=head_channels,
            unused_logits=unused_logits,
        )

    def rows(self, source: Source) -> Rows:
        """Boxes (n, max_boxes, 5) float32, the largest first; class -1 where there is none."""
        source.check(self.needs)
        given: list[list[Box]] = source.annotations.boxes or []
        boxes = np.zeros((source.n, self.max_boxes, 5), dtype=np.float32)
        boxes[..., 0] = -1
        for i, found in enumerate(given):
            for box in found:
                _check(box, self.classes, i)
            kept = sorted(found, key=lambda b: (-(b[3] - b[1]) * (b[4] - b[2]), b))[: self.max_boxes]
            if kept:
                boxes[i, : len(kept)] = kept
        return {"boxes": boxes}

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        """Tokens (n, 3 max_boxes) int64 in place of the boxes, which are mirrored where the image is."""
        boxes = rows["boxes"]
        mirror = boxes[..., [0, 3, 2, 1, 4]]
        mirror[..., [1, 3]] = 1 - mirror[..., [1, 3]]
        boxes = np.where(rearrange(rows["flipped"], "n -> n 1 1"), mirror, boxes)
        return {**{k: v for k, v in rows.items() if k != "boxes"}, "layout": self._tokens(boxes)}

    def _tokens(self, boxes: np.ndarray) -> Int[np.ndarray, "n l"]:
        cell = np.rint(boxes[..., 1:] * (self.cells - 1)).astype(np.int64)
        x0, y0, x1, y1 = (cell[..., k] for k in range(4))
        tokens = np.stack([boxes[..., 0].astype(np.int64), y0 * self.cells + x0, y1 * self.cells + x1], axis=-1)
        tokens[boxes[..., 0] < 0] = self.none
        return rearrange(tokens, "n boxes three -> n (boxes three)")

    def boxes(self, tokens: Int[np.ndarray, "n l"]) -> list[list[Box]]:
        """The boxes that tokens stand for, to within half a cell."""
        triples = rearrange(tokens, "n (boxes three) -> n boxes three", three=PER_BOX)
        return [
            [(c, *self._corner(a), *self._corner(b)) for c, a, b in row if c != self.none] for row in triples.tolist()
        ]

    def _corner(self, token: int) -> tuple[float, float]:
        return token % self.cells / (self.cells - 1), token // self.cells / (self.cells - 1)

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """The boxes as coloured frames on white, a colour a class."""
        from PIL import Image, ImageDraw

        colours, images = palette(self.classes + 1), []
        for boxes in self.boxes(np.asarray(rows["layout"])):
            image = Image.new("RGB", (self.size, self.size), "white")
            for label, *corners in boxes:
                x0, y0, x1, y1 = (round(c * self.size) for c in corners)
                frame = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
                ImageDraw.Draw(image).rectangle(frame, outline=tuple(colours[label + 1].tolist()))
            images.append(np.asarray(image))
        return np.stack(images)

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["layout"]: int64 (b, 3 max_boxes). The first token after the boxes counts too: it ends the list."""
        return self._cond(batch["layout"].to(self.encoder.norm.weight.device))

    def null(self, like: Cond) -> Cond:
        n = 0 if like.tokens is None else len(like.tokens)
        one = self._cond(torch.full((1, self.length), self.none, device=self.encoder.norm.weight.device))
        return Cond(tokens=repeat(one.tokens, "1 l d -> n l d", n=n), mask=repeat(one.mask, "1 l -> n l", n=n))

    def _cond(self, ids: Int[Tensor, "b l"]) -> Cond:
        there = rearrange(ids, "b (boxes three) -> b boxes three", three=PER_BOX)[..., 0] != self.none
        place = torch.arange(self.length, device=ids.device)
        mask = place <= PER_BOX * there.sum(dim=1, keepdim=True)
        return Cond(tokens=self.encoder(ids, mask), mask=mask)


def parse_boxes(given: Sequence[object], classes: Sequence[str], key: str = "boxes") -> list[Box]:
    """Boxes of a request, each [name, x0, y0, x1, y1] in shares of the image from its upper left corner.

    Raises ConfigError, which names `key`, for a class that the model does not have and for corners outside.
    """
    boxes: list[Box] = []
    for item in given:
        values = list(item) if isinstance(item, list | tuple) else [item]
        corners = [v for v in values[1:] if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(values) != 5 or len(corners) != 4:
            raise ConfigError(key, "boxes [name, x0, y0, x1, y1]", item)
        label = class_index(str(values[0]), classes, key)
        x0, y0, x1, y1 = corners
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ConfigError(key, "corners with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1", item)
        boxes.append((label, float(x0), float(y0), float(x1), float(y1)))
    return boxes


def _check(box: Box, classes: int, row: int) -> None:
    label, x0, y0, x1, y1 = box
    if not 0 <= label < classes:
        raise DataError(f"boxes: expected classes in 0 … {classes - 1}; got {label} in image {row}.")
    if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):
        raise DataError(f"boxes: expected corners inside the image, in [0, 1]; got {box[1:]} in image {row}.")
