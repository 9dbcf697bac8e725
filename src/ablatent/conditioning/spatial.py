"""What the conditioners share whose condition is a map beside x_t."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond


def flip(images: Shaped[np.ndarray, "n h w ..."], flipped: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, "n h w ..."]:
    """The images with those rows mirrored, left to right, that `flipped` names."""
    if not flipped.any():
        return images
    out = np.array(images)
    out[flipped] = out[flipped, :, ::-1]
    return out


def no_map(like: Cond) -> Cond:
    """Zeros in place of the map."""
    return Cond(spatial=None if like.spatial is None else torch.zeros_like(like.spatial))


def check_range(key: str, value: Any, low: float | int, high: float | int) -> tuple[float, float]:
    """Two numbers, low <= first <= second <= high. Raises ConfigError."""
    real = isinstance(value, list | tuple) and len(value) == 2
    real = real and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not real or not low <= value[0] <= value[1] <= high:
        raise ConfigError(key, f"two numbers, the smaller one first, from {low} to {high}", value)
    return float(value[0]), float(value[1])
