"""Which part of a picture is to be filled: strokes of a brush, boxes, one half. numpy only."""

import numpy as np
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, did_you_mean

KINDS = ("strokes", "boxes", "half")


def check_kind(kind: str, key: str) -> None:
    """Raise ConfigError unless there are masks of this kind. key: the config path that named it."""
    if kind not in KINDS:
        raise ConfigError(key, "one of " + ", ".join(KINDS), kind, did_you_mean(kind, KINDS))


def mask(kind: str, size: tuple[int, int], rng: np.random.Generator) -> UInt8[np.ndarray, "H W"]:
    """1 where the picture is to be filled, 0 where it is known; at least one pixel of each.

    kind: strokes (a broken line of a thick brush, as in LaMa: Suvorov et al. 2022), boxes (one to three, of a fifth to
    a half of the sides), half (left, right, top or bottom). size: (H, W), each at least 2.
    """
    check_kind(kind, "mask")
    out = {"strokes": _strokes, "boxes": _boxes, "half": _half}[kind](size, rng).astype(np.uint8)
    if out.all():  # a very small picture: something must be known
        out[0, :] = 0
    return out


def _half(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    side, axis = rng.integers(2), rng.integers(2)
    at = np.arange(size[axis]) < size[axis] // 2
    at = at if side else ~at
    return np.broadcast_to(at[:, None] if axis == 0 else at[None, :], size).copy()


def _boxes(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    out = np.zeros(size, dtype=bool)
    for _ in range(rng.integers(1, 4)):
        sides = [max(1, round(n * rng.uniform(0.2, 0.5))) for n in size]
        top, left = (int(rng.integers(n - side + 1)) for n, side in zip(size, sides, strict=True))
        out[top : top + sides[0], left : left + sides[1]] = True
    return out


def _strokes(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A walk of four to eight straight pieces; a disc at every half pixel of the way."""
    scale = np.array(size, dtype=np.float64)
    radius = max(0.75, float(rng.uniform(0.04, 0.1)) * scale.min())
    rows, columns = np.indices(size)
    out = np.zeros(size, dtype=bool)
    at, angle = rng.uniform(0.2, 0.8, 2) * (scale - 1), rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(4, 9)):
        angle += rng.uniform(-1.2, 1.2)
        way = rng.uniform(0.1, 0.35) * scale.min() * np.array([np.sin(angle), np.cos(angle)])
        end = np.clip(at + way, 0, scale - 1)
        for w in np.linspace(0, 1, 2 + int(2 * np.abs(end - at).max())):
            y, x = at + w * (end - at)
            out |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        at = end
    return out
