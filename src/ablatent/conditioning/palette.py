"""Colours of classes in figures."""

import colorsys

import numpy as np
from jaxtyping import UInt8

# Of hues: the golden ratio keeps any number of them apart.
STEP = 0.6180339887498949


def palette(n: int) -> UInt8[np.ndarray, "n 3"]:
    """n colours, the first a light grey (the background); colour k does not depend on n."""
    colours = [(0.92, 0.92, 0.92)]
    colours += [colorsys.hsv_to_rgb(k * STEP % 1, (0.85, 0.55)[k % 2], (0.75, 0.9)[k // 2 % 2]) for k in range(n - 1)]
    return np.rint(255 * np.asarray(colours[:n])).astype(np.uint8)
