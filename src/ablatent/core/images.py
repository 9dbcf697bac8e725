"""Grids of images and PNG files with the same bytes for the same pixels. Free of torch."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ablatent.core.escape import one_line
from ablatent.core.files import write_atomic

if TYPE_CHECKING:
    from PIL import Image

REQUEST_CHUNK = "ablatent"
"""The PNG text chunk in which do=sample writes, as JSON, all that decides an image: "index" is null in the grid."""


def as_rgb(images: np.ndarray) -> np.ndarray:
    """(…, H, W, C) as RGB: grey (C = 1) three times, RGB as it is. A view."""
    return np.broadcast_to(images, (*images.shape[:-1], 3)) if images.shape[-1] == 1 else images


def picture(image: np.ndarray) -> "Image.Image":
    """uint8 (H, W, 3), or (H, W, 1) or (H, W) as greyscale."""
    from PIL import Image

    grey = image.ndim == 3 and image.shape[-1] == 1
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if grey else image))


def levels(image: "Image.Image") -> np.ndarray:
    """uint8 (H, W, C) of a picture in RGB or grey: the inverse of `picture`."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def grid(images: np.ndarray, columns: int, scale: int = 1, pad: int = 2) -> np.ndarray:
    """Images side by side in rows of `columns`, on white, in RGB.

    images: uint8 (N, H, W, C), C 3 or 1, N >= 1. scale: size of a pixel in the result. pad: white pixels around each.
    Returns uint8 (rows * (H * scale + pad) + pad, columns * (W * scale + pad) + pad, 3).
    Raises ValueError for other input.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"grid: expected uint8 images (N, H, W, 3 or 1), N >= 1; got {images.dtype} {images.shape}")
    if columns < 1 or scale < 1 or pad < 0:
        raise ValueError(f"grid: expected columns, scale >= 1 and pad >= 0; got {columns}, {scale}, {pad}")
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = large.shape[1] + pad, large.shape[2] + pad
    rows = -(-len(images) // columns)
    canvas = np.full((rows * height + pad, columns * width + pad, 3), 255, dtype=np.uint8)
    for i, image in enumerate(large):
        top, left = i // columns * height + pad, i % columns * width + pad
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def labelled(images: np.ndarray, columns: Sequence[str], rows: Sequence[str], scale: int = 1) -> np.ndarray:
    """A grid with a label above each column and before each row, black on white.

    images: uint8 (len(rows) * len(columns), H, W, C), row by row. Returns uint8 (height, width, 3). Raises ValueError
    where the count does not fit.
    """
    from PIL import Image, ImageDraw, ImageFont

    if len(images) != len(rows) * len(columns):
        raise ValueError(f"labelled: expected {len(rows)} x {len(columns)} images; got {len(images)}")
    columns, rows = [one_line(text) for text in columns], [one_line(text) for text in rows]
    cells, font = grid(images, len(columns), scale), ImageFont.load_default(size=11)
    left = 8 + int(max(font.getlength(row) for row in rows))
    page = Image.new("RGB", (left + cells.shape[1], 18 + cells.shape[0]), "white")
    page.paste(Image.fromarray(cells), (left, 18))
    draw, height, width = ImageDraw.Draw(page), images.shape[1] * scale + 2, images.shape[2] * scale + 2
    for k, label in enumerate(columns):
        draw.text((left + 2 + k * width, 3), label, "black", font)
    for k, label in enumerate(rows):
        draw.text((4, 18 + k * height + height // 2 - 6), label, "black", font)
    return np.asarray(page)


def save_gif(path: Path, frames: Sequence[np.ndarray], seconds: float = 4.0) -> None:
    """Write uint8 (H, W, 3) frames of one size, atomically, as an endless animation of `seconds`, with a rest at its
    end."""
    from PIL import Image

    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    milliseconds = max(20, int(1000 * seconds / len(images)))
    data = io.BytesIO()
    images[0].save(
        data,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[*[milliseconds] * (len(frames) - 1), 1500],
        loop=0,
    )
    write_atomic(path, data.getvalue())


def save_png(path: Path, image: np.ndarray, text: Mapping[str, str] | None = None) -> None:
    """Write uint8 (H, W, 3), or (H, W, 1) or (H, W) in grey, atomically, with `text` as PNG metadata sorted by key.

    Equal pixels and text give equal bytes (no time stamp). Raises ValueError for other input.
    """
    from PIL.PngImagePlugin import PngInfo

    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3))):
        raise ValueError(f"save_png: expected uint8 (H, W, 3 or 1) or (H, W); got {image.dtype} {image.shape}")
    info = PngInfo()
    for key, value in sorted((text or {}).items()):
        info.add_text(key, value)
    data = io.BytesIO()
    picture(image).save(data, format="PNG", pnginfo=info)
    write_atomic(path, data.getvalue())


def load_png(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) of a file that `save_png` wrote."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
