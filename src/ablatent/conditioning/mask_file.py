"""Masks that are read from image files: white = fill, black = keep, grey = fill in part. Free of torch."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.decode import DARK_HINT, DarkImages, open_upright, to_rgb

TOLERANCE = 12 / 255
"""How far from black and white JPEG leaves what was drawn in them: shares as near to 0 or 1 as this are that."""


def read_mask(path: Path, size: tuple[int, int], key: str) -> Float32[np.ndarray, "H W"]:
    """The share of each pixel that is to be filled: its grey level, from 0 (black: kept) to 1 (white).

    Read as images are: upright by EXIF, 16 bits reduced to 8. A file with transparency says by it what to fill:
    the painted part where all that is painted has one colour other than black; else the transparent part, which was
    erased, and white paint beside it. key: the config path that named the file. Raises ConfigError for a file that is
    no image, for a mask of another size than (H, W) = size, and for one without anything to fill or to keep.
    """
    if not path.is_file():
        raise ConfigError(key, "an image file", str(path), "There is no such file.")
    dark = DarkImages(key)
    try:
        image = open_upright(path)
        dark.look(image, str(path))
        share = _share(image)
    except (DataError, ValueError) as error:
        raise ConfigError(key, "an image file", str(path), str(error)) from None
    if image.size != (size[1], size[0]):
        expected, got = f"a mask of the image's size, {size[1]}x{size[0]}", f"{image.width}x{image.height}"
        raise ConfigError(key, expected, got, f"See {path}.")
    share[share <= TOLERANCE], share[share >= 1 - TOLERANCE] = 0, 1
    if share.min() == 1 or share.max() == 0:
        got, hint = "all white" if share.min() == 1 else "all black", f" It has {DARK_HINT}." if dark.dark else ""
        raise ConfigError(key, "a mask that is white where to fill, and black elsewhere", got, f"See {path}.{hint}")
    return share


def _share(image: Image.Image) -> Float32[np.ndarray, "H W"]:
    """The share to fill of each pixel, 0 to 1, of levels or of transparency."""
    on_white = np.asarray(to_rgb(image).convert("L")).astype(np.float32) / 255
    if not image.has_transparency_data or image.mode.startswith("I"):
        return on_white
    rgba = np.asarray(image.convert("RGBA")).astype(np.float32) / 255
    alpha, colours = rgba[..., 3], rgba[..., :3][rgba[..., 3] > TOLERANCE]
    if alpha.min() == 1 or not len(colours):
        return on_white
    if np.ptp(colours, axis=0).max() <= 2 * TOLERANCE and colours.max() > TOLERANCE:
        return alpha
    levels = colours.mean(axis=-1)
    black_and_white = ((levels <= TOLERANCE) | (levels >= 1 - TOLERANCE)).all()
    return on_white if black_and_white else 1 - alpha
