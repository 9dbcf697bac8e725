"""Between images on disk and what networks see. numpy only."""

import numpy as np
from einops import rearrange
from jaxtyping import Float32, Num, UInt8

from ablatent.core.errors import DataError


def to_unit(pixels: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n c h w"]:
    """8-bit pixels, 0..255, to [-1, 1], channels first, contiguous."""
    x = np.ascontiguousarray(rearrange(pixels, "n h w c -> n c h w")).astype(np.float32)
    x /= np.float32(127.5)
    x -= np.float32(1)
    return x


def to_uint8(x: Num[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """[-1, 1] to 8-bit pixels, rounded to the nearest, clipped. Raises DataError for NaN or infinity."""
    if not np.isfinite(x).all():
        raise DataError("images: expected finite values; got NaN or infinity, from weights or a sampler that diverged.")
    levels = np.clip(np.rint((x.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(rearrange(levels, "n c h w -> n h w c"))
