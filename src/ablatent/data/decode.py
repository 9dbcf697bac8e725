"""The one way in which image files become pixels: upright, 8 bits, RGB, transparency on white. Free of torch."""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ablatent.core.ahead import made_ahead
from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.progress import console

# Of two images of one name in a shard the first is taken: new formats stand at the end.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".jfif", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".pgm")
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
ORIENTATION = 0x0112  # EXIF tag; from 5 on width and height change places
SIDEWAYS = 5
DARK = 1 << 12
DARK_HINT = (
    "16 bits with no level of 4096 or more, as 12-bit values are stored unscaled: nearly black. "
    "If it should not be, multiply the levels by 16"
)


def check_option(key: str, value: str, options: tuple[str, ...]) -> None:
    """Raises ConfigError at data.KEY unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(f"data.{key}", f"one of {', '.join(options)}", value, did_you_mean(str(value), options))


@dataclass
class DarkImages:
    """Counts, while a set is read, the images whose 16 bits hold 12-bit values or less, and says so once.

    what: the set, in the message.
    """

    what: str
    dark: dict[str, None] = field(default_factory=dict)

    def look(self, image: Image.Image, name: str) -> None:
        """Count an image, before its levels are reduced to 8 bits."""
        if image.mode.startswith("I") and 0 < int(np.asarray(image).max()) < DARK:
            self.dark[name] = None  # a set in the order in which they came

    def say(self) -> None:
        """Print how many there were, with the name of the first; nothing where there were none."""
        if self.dark:
            others = f" and {len(self.dark) - 1} others" if len(self.dark) > 1 else ""
            console.print(f"  {self.what}: {next(iter(self.dark))}{others}: {DARK_HINT}", markup=False)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what Pillow raises for a file into a DataError that names it."""
    try:
        yield
    # Pillow's decoders raise any of these for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image: {error}. Do: mend or remove the file") from error


def open_upright(source: Path | bytes, name: str = "") -> Image.Image:
    """An image as it is stored, turned upright by EXIF; the first frame of an animation.

    source: a file, or the bytes of one, which `name` calls in messages. A .npy file holds uint8 pixels as (3, h, w),
    (1, 3, h, w) or (h, w, 3). Raises DataError that names what cannot be read.
    """
    with readable(name or str(source)):
        if isinstance(source, Path) and source.suffix == ".npy":
            return _from_array(np.load(source, allow_pickle=False))
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            image.load()
            return ImageOps.exif_transpose(image)


def read_rgb(source: Path | bytes, name: str = "", dark: DarkImages | None = None) -> Image.Image:
    """An image as upright RGB of 8 bits, see `to_rgb`; counted in `dark` where it is. Raises DataError."""
    name = name or str(source)
    upright = open_upright(source, name)
    if dark is not None:
        dark.look(upright, name)
    with readable(name):
        return to_rgb(upright)


def read_image(
    source: Path | bytes, size: int, resize: str, name: str = "", dark: DarkImages | None = None
) -> UInt8[np.ndarray, "size size 3"]:
    """The middle square of an image, see `read_rgb`, resized by a filter of FILTERS. Raises DataError."""
    rgb = read_rgb(source, name, dark)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    # Cropping within the resize equals resizing the shorter side and cropping, without rounding the longer one.
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), FILTERS[resize], box=box))


def read_images(
    sources: Iterable[tuple[Path | bytes, str]], size: int, resize: str, what: str
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """`read_image` of each (source, name) in turn, by several threads; says of the set `what` which are dark."""
    dark, threads = DarkImages(what), os.cpu_count() or 1

    def read(source: tuple[Path | bytes, str]) -> tuple[np.ndarray, DarkImages]:
        own = DarkImages(what)
        return read_image(source[0], size, resize, source[1], own), own

    for image, own in made_ahead(read, sources, 4 * threads, threads):
        dark.dark |= own.dark
        yield image
    dark.say()


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image, from the header alone. Raises DataError."""
    with readable(str(path)), Image.open(path) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of an opened image after it is turned upright."""
    width, height = image.size
    sideways = image.getexif().get(ORIENTATION, 1) >= SIDEWAYS and image.format != "TIFF"  # Pillow turns TIFF itself
    return (height, width) if sideways else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB of 8 bits, with transparency laid on white. Raises ValueError for levels of an unknown range.

    Of 16 bits, the upper 8 remain, as they do of an image in 16-bit colours (Pillow's own conversion of grey clips at
    255). Real levels are shares of white where none is above 1 (scikit-image writes such), else levels of 255 (Pillow
    does). CMYK is converted by formula; colour profiles are not applied.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.mode == "La":
        raise ValueError("expected grey levels apart from their transparency; got mode La, grey multiplied by it")
    if not image.has_transparency_data:
        return image.convert("RGB")
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # of a PNG in 16-bit colours, of which Pillow keeps the upper 8 bits
        image.info["transparency"] = tuple(level >> 8 for level in key)
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def in_channels(rgb: UInt8[np.ndarray, "h w 3"], channels: int) -> UInt8[np.ndarray, "h w C"]:
    """RGB pixels in 3 channels as they are, or in 1, their luma by ITU-R BT.601: grey pixels keep their level."""
    return rgb if channels == rgb.shape[-1] else np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of real levels, in 8; with an alpha channel where the file names a transparent level.

    Integers of 32 bits must be within 16: nothing says what their white is.
    """
    levels = np.asarray(image)
    low, high = levels.min(), levels.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 255):  # false for NaN, too
            raise ValueError(f"expected real levels from 0 to 1, or from 0 to 255; got {low:g} to {high:g}")
        return Image.fromarray(np.rint(levels * (255 if high <= 1 else 1)).astype(np.uint8))
    if low < 0 or high > 65535:
        raise ValueError(f"expected integers from 0 to 65535; got {low} to {high}")
    grey = Image.fromarray((levels.astype(np.int64) >> 8).astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8))))


def _from_array(levels: np.ndarray) -> Image.Image:
    if levels.ndim == 4 and len(levels) == 1:
        levels = levels[0]
    if levels.ndim == 3 and levels.shape[0] == 3 and levels.shape[2] != 3:
        levels = levels.transpose(1, 2, 0)
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[2] != 3:
        raise ValueError(f"expected uint8 levels of three channels; got {levels.dtype} {levels.shape}")
    return Image.fromarray(np.ascontiguousarray(levels))
