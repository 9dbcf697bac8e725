"""Where the objects of a composed scene stand, and the sentence that says so. Free of torch.

A scene is laid out by construction, not by trial: objects never overlap, and of two that a caption relates, the middles
lie further apart along the axis that it names than across it.
"""

from collections.abc import Sequence

import numpy as np

from ablatent.data.boxes import Box, relation

Extent = tuple[int, int]
"""Width and height in pixels."""
Corner = tuple[int, int]
"""Left and top in pixels."""
MAX_OBJECTS = 4

# Longest sides of objects as shares of the canvas, by the number of objects: at 32 px two have 14 to 18 px each.
ALONE, PAIR, QUARTER = (0.6, 0.85), (0.44, 0.56), (0.4, 0.5)
# Of two related objects: how far their middles may lie apart across the axis, against along it.
ACROSS = 0.6
# The quarters of the canvas (column, row), each beside the next.
RING = ((0, 0), (1, 0), (1, 1), (0, 1))


def arrange(rng: np.random.Generator, side: int, aspects: Sequence[Extent]) -> list[tuple[Extent, Corner]]:
    """(extent, corner) of each object on a canvas of `side` pixels. aspects: width and height of each, in any unit.

    Each object is beside the one before it (to the left or right, above or below).
    """
    if len(aspects) == 1:
        extent = fitted(aspects[0], _between(rng, side, ALONE))
        return [(extent, (_up_to(rng, side - extent[0]), _up_to(rng, side - extent[1])))]
    return _pair(rng, side, aspects) if len(aspects) == 2 else _quarters(rng, side, aspects)


def fitted(aspect: Extent, longest: int) -> Extent:
    """Width and height in pixels, the longer one `longest`."""
    scale = longest / max(aspect)
    return max(1, round(aspect[0] * scale)), max(1, round(aspect[1] * scale))


def caption(boxes: Sequence[Box], names: Sequence[str]) -> str:
    """Each object beside the one before it: "a red apple left of a bicycle, a dog above the bicycle".

    names: of all classes. The relations are read off the boxes.
    """
    first, *others = boxes
    if not others:
        return with_article(names[first[0]])
    second, *more = others
    phrases = [f"{with_article(names[first[0]])} {relation(first, second)} {with_article(names[second[0]])}"]
    for before, box in zip(others, more, strict=False):
        phrases.append(f"{with_article(names[box[0]])} {relation(box, before)} the {names[before[0]]}")
    return ", ".join(phrases)


def with_article(name: str) -> str:
    """The name behind "a" or "an"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _pair(rng: np.random.Generator, side: int, aspects: Sequence[Extent]) -> list[tuple[Extent, Corner]]:
    """Two objects, one before the other along a random axis, in a random order."""
    along, across = (0, 1) if rng.integers(2) else (1, 0)
    longest = [_between(rng, side, PAIR) for _ in aspects]
    extents = [fitted(a, s) for a, s in zip(aspects, longest, strict=True)]
    if (total := sum(e[along] for e in extents)) > side:
        extents = [fitted(a, s * side // total) for a, s in zip(aspects, longest, strict=True)]
    order = [0, 1] if rng.integers(2) else [1, 0]
    near, far = (extents[k] for k in order)
    gaps = sorted(_up_to(rng, max(0, side - near[along] - far[along])) for _ in order)
    starts = [gaps[0], gaps[1] + near[along]]
    sideways = [_up_to(rng, side - e[across]) for e in (near, far)]
    apart = starts[1] + far[along] / 2 - starts[0] - near[along] / 2
    # the second is moved to the height of the first, as far as it must be
    middle = sideways[0] + near[across] / 2
    low, high = (int(np.rint(middle + s * ACROSS * apart - far[across] / 2)) for s in (-1, 1))
    sideways[1] = min(max(min(max(sideways[1], low), high), 0), side - far[across])
    corners: list[Corner] = [(0, 0), (0, 0)]
    for k, start, beside in zip(order, starts, sideways, strict=True):
        corners[k] = (start, beside) if along == 0 else (beside, start)
    return list(zip(extents, corners, strict=True))


def _quarters(rng: np.random.Generator, side: int, aspects: Sequence[Extent]) -> list[tuple[Extent, Corner]]:
    """Three or four objects, each near the middle of a quarter, one quarter after the other around the canvas."""
    start, turn, half = int(rng.integers(4)), 1 if rng.integers(2) else -1, side // 2
    placed = []
    for k, aspect in enumerate(aspects):
        extent = fitted(aspect, min(half, _between(rng, side, QUARTER)))
        corner = []
        for axis, cell in enumerate(RING[(start + turn * k) % 4]):
            slack = half - extent[axis]
            play = min(slack // 2, side // 16)
            corner.append(cell * half + slack // 2 - play + _up_to(rng, 2 * play))
        placed.append((extent, (corner[0], corner[1])))
    return placed


def _between(rng: np.random.Generator, side: int, shares: tuple[float, float]) -> int:
    low, high = (max(1, round(s * side)) for s in shares)
    return int(rng.integers(low, high + 1))


def _up_to(rng: np.random.Generator, largest: int) -> int:
    return int(rng.integers(largest + 1))
