"""Data of one or two coloured squares on white, of which objects, boxes and pixel classes are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ablatent.core.rng import stream
from ablatent.data.base import Annotations, ImageData, Row

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 220)}
COUNT, HELD_OUT = 320, 64


@dataclass(frozen=True)
class Squares(ImageData):
    """Different colours in an image, side by side; validation is the first HELD_OUT of COUNT images."""

    name: ClassVar[str] = "squares"

    def all_rows(self) -> list[Row]:
        return [Row(str(i), int(i < HELD_OUT)) for i in range(COUNT)]

    def content(self, rows: Sequence[Row]) -> Any:
        return "squares"

    def scene(self, row: Row) -> list[tuple[int, int, int, int]]:
        """(colour, left, top, side) of each square, in pixels."""
        rng, half = stream(0, "squares", int(row.id)), self.size // 2
        colours = rng.permutation(len(COLOURS))[: rng.integers(1, 3)]
        sides = rng.integers(half // 2, half, size=len(colours))
        return [
            (int(c), int(k * half + rng.integers(half - s)), int(rng.integers(self.size - s)), int(s))
            for k, (c, s) in enumerate(zip(colours, sides, strict=True))
        ]

    def images(self, rows: Sequence[Row]) -> Iterator[np.ndarray]:
        for row in rows:
            image = np.full((self.size, self.size, 3), 255, dtype=np.uint8)
            for c, x, y, s in self.scene(row):
                image[y : y + s, x : x + s] = list(COLOURS.values())[c]
            yield image

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        maps, boxes = np.zeros((len(rows), self.size, self.size), dtype=np.uint8), []
        for i, row in enumerate(rows):
            for c, x, y, s in self.scene(row):
                maps[i, y : y + s, x : x + s] = c + 1
            corners = [(c, x, y, x + s, y + s) for c, x, y, s in self.scene(row)]
            boxes.append([(c, *(v / self.size for v in at)) for c, *at in corners])
        captions = [" and ".join(list(COLOURS)[c] for c, *_ in self.scene(row)) for row in rows]
        return Annotations(None, tuple(COLOURS), captions, boxes, maps, ("background", *COLOURS))
