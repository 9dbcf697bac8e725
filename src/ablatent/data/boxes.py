"""Boxes of objects, in the coordinates of the square that is cut out of an image. Free of torch."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool

Box = tuple[int, float, float, float, float]
"""(class index, x0, y0, x1, y1), from the left and from the top, in [0, 1]."""

# A box of which the middle square shows less than this share of its area is no longer in the image.
MIN_VISIBLE = 0.25
RELATIONS = ("left of", "right of", "above", "below")


def in_middle_square(boxes: Iterable[Box], width: int, height: int) -> list[Box]:
    """Boxes of a whole image as boxes of its middle square, cut at its edges; those left outside are gone."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    found = []
    for label, *corners in boxes:
        x0, x1 = (corners[k] * width - left for k in (0, 2))
        y0, y1 = (corners[k] * height - top for k in (1, 3))
        area = (x1 - x0) * (y1 - y0)
        u0, v0, u1, v1 = (min(max(c / side, 0.0), 1.0) for c in (x0, y0, x1, y1))
        if area > 0 and (u1 - u0) * (v1 - v0) * side**2 >= MIN_VISIBLE * area:
            found.append((label, u0, v0, u1, v1))
    return found


def relation(a: Box, b: Box) -> str:
    """How a lies to b by their middles: one of RELATIONS, along the axis on which they are further apart."""
    dx, dy = a[1] + a[3] - b[1] - b[3], a[2] + a[4] - b[2] - b[4]
    left, right, above, below = RELATIONS
    if abs(dx) >= abs(dy):
        return left if dx < 0 else right
    return above if dy < 0 else below


def presence(boxes: Sequence[Iterable[Box]], classes: int) -> Bool[np.ndarray, "n classes"]:
    """Which classes each image shows: one row an image."""
    there = np.zeros((len(boxes), classes), dtype=bool)
    for row, found in zip(there, boxes, strict=True):
        row[[box[0] for box in found]] = True
    return there
