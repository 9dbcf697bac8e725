"""What the conditioners share whose condition is a map beside x_t."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond


def flip(images: Shaped[np.ndarray, "n h w ..."], flipped: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, "n h w ..."]:
    """The images with the rows in which `flipped` is True mirrored, left to right."""
    if not flipped.any():
        return images
    out = np.array(images)
    out[flipped] = out[flipped, :, ::-1]
    return out


def no_map(like: Cond) -> Cond:
    """A condition of zeros in the shape of the map of `like`; no map where that has none."""
    return Cond(spatial=None if like.spatial is None else torch.zeros_like(like.spatial))


def check_range(key: str, value: Any, low: float | int, high: float | int) -> tuple[float, float]:
    """The two numbers of a range, low <= first <= second <= high. Raises ConfigError, which names `key`, for others."""
    real = isinstance(value, list | tuple) and len(value) == 2
    real = real and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not real or not low <= value[0] <= value[1] <= high:
        raise ConfigError(key, f"two numbers, the smaller one first, from {low} to {high}", value)
    return float(value[0]), float(value[1])
