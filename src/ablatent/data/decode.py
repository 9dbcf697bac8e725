"""From encoded images to RGB squares of 8-bit pixels, the same way for every data set. Free of torch."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ablatent.core.errors import ConfigError, DataError, did_you_mean

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
ORIENTATION = 0x0112  # EXIF tag; from 5 on width and height change places
SIDEWAYS = 5


def check_option(key: str, value: str, options: tuple[str, ...]) -> None:
    """Raises ConfigError at data.KEY unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(f"data.{key}", f"one of {', '.join(options)}", value, did_you_mean(str(value), options))


def read_image(source: Path | bytes, size: int, resize: str, name: str = "") -> UInt8[np.ndarray, "size size 3"]:
    """An image as RGB: upright by EXIF, on white, middle square, resized by a filter of FILTERS.

    source: a file, or the bytes of one, which `name` calls in messages. A .npy file holds uint8 pixels as (3, h, w),
    (1, 3, h, w) or (h, w, 3). Raises DataError that names what cannot be read.
    """
    name = name or str(source)
    try:
        if isinstance(source, Path) and source.suffix == ".npy":
            upright = _from_array(np.load(source, allow_pickle=False))
        else:
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
    # Pillow's decoders raise any of these for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image: {error}. Do: mend or remove the file") from error
    rgb = to_rgb(upright)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    # Cropping within the resize equals resizing the shorter side and cropping, without rounding the longer one.
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), FILTERS[resize], box=box))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image, from the header alone. Raises DataError."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS else (width, height)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}. Do: mend or remove the file") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB with transparency laid on white; 16-bit grey keeps its upper 8 bits (Pillow's conversion would clip it)."""
    if image.mode.startswith("I"):
        levels = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _from_array(levels: np.ndarray) -> Image.Image:
    if levels.ndim == 4 and len(levels) == 1:
        levels = levels[0]
    if levels.ndim == 3 and levels.shape[0] == 3 and levels.shape[2] != 3:
        levels = levels.transpose(1, 2, 0)
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[2] != 3:
        raise ValueError(f"expected uint8 levels of three channels; got {levels.dtype} {levels.shape}")
    return Image.fromarray(np.ascontiguousarray(levels))
