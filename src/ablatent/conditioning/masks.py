"""Random masks for inpainting: boxes, strokes, half images (after Suvorov et al. 2021, LaMa). 1 = to be filled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from ablatent.conditioning.spatial import check_range
from ablatent.core.errors import ConfigError

Mask = UInt8[np.ndarray, "size size"]
ATTEMPTS = 200


@dataclass(frozen=True)
class Masks:
    """Random masks of one kind, or of several.

    kind: boxes, strokes, halves, or mixture (one of these three, equally often). fraction: range of the share of the
    image that boxes and strokes cover; halves cover half of it. Raises ConfigError for other kinds and for a range too
    narrow to be met.
    """

    kind: str = "mixture"
    fraction: Sequence[float | int] = (0.1, 0.5)

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "mixture"):
            raise ConfigError("conditioner.masks", ", ".join((*KINDS, "mixture")), self.kind)
        low, high = check_range("conditioner.fraction", self.fraction, 0.0, 1.0)
        if high - low < 0.05 or low < 0.01:
            raise ConfigError("conditioner.fraction", "a range from 0.01 or more, at least 0.05 wide", self.fraction)
        object.__setattr__(self, "fraction", (low, high))  # hashable, and no longer the config's own list

    def __call__(self, rng: np.random.Generator, size: int) -> Mask:
        """A mask of (size, size), 1 = to be filled, as a function of the generator's state alone."""
        kind = list(KINDS)[int(rng.integers(len(KINDS)))] if self.kind == "mixture" else self.kind
        low, high = self.fraction
        return KINDS[kind](rng, size, low, high)


def boxes(rng: np.random.Generator, size: int, low: float, high: float) -> Mask:
    """Boxes, until a share of the image between low and high is covered."""

    def add(mask: Mask, room: float) -> None:
        area, ratio = rng.uniform(0.3, 1.0) * room, np.exp(rng.uniform(-0.7, 0.7))
        height = min(size, max(1, round(size * np.sqrt(area * ratio))))
        width = min(size, max(1, round(size * np.sqrt(area / ratio))))
        top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
        mask[top : top + height, left : left + width] = 1

    return _grown(rng, size, low, high, add)


def strokes(rng: np.random.Generator, size: int, low: float, high: float) -> Mask:
    """Broken lines of random thickness, until a share of the image between low and high is covered."""

    def add(mask: Mask, room: float) -> None:
        image = Image.fromarray(mask)
        brush = ImageDraw.Draw(image)
        thickness = max(1, round(size * rng.uniform(0.03, 0.03 + 0.3 * room)))
        x, y = rng.uniform(0, size, 2)
        angle = rng.uniform(0, 2 * np.pi)
        for _ in range(int(rng.integers(1, 5))):
            angle += rng.uniform(-1.2, 1.2)
            reach = size * rng.uniform(0.1, 0.5)
            to = np.clip([x + reach * np.cos(angle), y + reach * np.sin(angle)], 0, size - 1)
            brush.line([(float(x), float(y)), (float(to[0]), float(to[1]))], fill=1, width=thickness)
            x, y = to
        mask[:] = np.asarray(image)

    return _grown(rng, size, low, high, add)


def halves(rng: np.random.Generator, size: int, low: float, high: float) -> Mask:
    """The left, right, upper or lower half, whatever low and high are."""
    mask, half, side = np.zeros((size, size), dtype=np.uint8), size // 2, int(rng.integers(4))
    part = slice(0, half) if side % 2 else slice(size - half, size)
    mask[part if side < 2 else slice(None), part if side >= 2 else slice(None)] = 1
    return mask


KINDS: dict[str, Callable[[np.random.Generator, int, float, float], Mask]] = {
    "boxes": boxes,
    "strokes": strokes,
    "halves": halves,
}


def _grown(rng: np.random.Generator, size: int, low: float, high: float, add: Callable[[Mask, float], None]) -> Mask:
    """Shapes added to nothing until a share drawn from the range is covered; one that covers too much is taken back."""
    wanted = rng.uniform(low, high)
    mask = np.zeros((size, size), dtype=np.uint8)
    for _ in range(ATTEMPTS):
        before = mask.copy()
        add(mask, high - float(mask.mean()))
        if mask.mean() > high:
            mask = before
        if mask.mean() >= max(low, min(wanted, high - 1 / size)):
            break
    return mask if mask.mean() >= low else boxes(rng, size, low, high)
