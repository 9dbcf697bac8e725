"""Between 8-bit images and torch's tensors."""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ablatent.data.pixels import to_uint8, to_unit


def to_tensor(images: UInt8[np.ndarray, "n h w c"]) -> Float32[Tensor, "n c h w"]:
    """8-bit pixels, 0..255, to [-1, 1], channels first."""
    return torch.from_numpy(to_unit(np.asarray(images)))


def to_images(x: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """[-1, 1] on any device to 8-bit pixels, rounded to the nearest, clipped. Raises DataError for NaN or infinity."""
    return to_uint8(x.float().cpu().numpy())
