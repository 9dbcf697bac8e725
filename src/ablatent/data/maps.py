"""Segmentation maps beside the images of a folder: PNG files of class numbers. Free of torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from ablatent.core.arrays import large_zeros
from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.progress import track
from ablatent.data.decode import image_size, open_upright
from ablatent.data.hashing import file_digests
from ablatent.data.listing import existing, shortlist

VOID = 255
"""Pixels that belong to no class, in many published sets."""
UNLABELLED = "unlabelled"


def maps_folder(root: Path, maps: str) -> Path:
    """The folder that `maps` names, relative to root. Raises ConfigError when it is not there, or is root itself."""
    folder = root / Path(maps).expanduser()
    if not folder.is_dir():
        near = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        expected = f"a folder of PNG files; looked for {folder}"
        raise ConfigError("data.maps", expected, maps, did_you_mean(folder.name, near))
    if folder.resolve() == root.resolve():
        raise ConfigError("data.maps", "another folder than that of the images", maps)
    return folder


def with_maps(folder: Path, ids: Sequence[str]) -> dict[str, str]:
    """Image id → its map, below the folder: the image's path with .png. Of images that have one.

    Accents may be written in another way in the folder of the images.
    """
    maps = {i: existing(folder, Path(i).with_suffix(".png").as_posix()) for i in ids}
    return {i: name for i, name in maps.items() if name is not None}


def without_map(folder: Path, missing: Sequence[str], total: int) -> DataError:
    """The error for images without a map: how many of the total, and the first ten."""
    return DataError(
        f"data.maps: expected a map for each of {total} images in {folder}; {len(missing)} have none: "
        f"{shortlist(missing)}. Do: give each the path of its image, ending in .png, leave these images out by "
        "data.on_missing=skip, or set data.maps=null"
    )


def map_names(folder: Path, ids: Sequence[str]) -> list[str]:
    """The map of each image, below the folder. Raises DataError for missing ones."""
    found = with_maps(folder, ids)
    if missing := [i for i in ids if i not in found]:
        raise without_map(folder, missing, len(ids))
    return [found[i] for i in ids]


def class_list(root: Path, classes: int | str | None) -> tuple[str, ...]:
    """The names of the classes by their numbers, "unlabelled" as the last. Raises ConfigError.

    classes: how many there are, which then are named by number, or a text file, relative to root, with a name a line.
    """
    if not isinstance(classes, str):
        if not isinstance(classes, int) or isinstance(classes, bool) or not 1 <= classes < VOID:
            expected = f"the number of classes, up to {VOID - 1}, or a text file with a name a line"
            raise ConfigError("data.map_classes", expected, classes)
        return (*(str(k) for k in range(classes)), UNLABELLED)
    path = root / Path(classes).expanduser()
    if not path.is_file():
        raise ConfigError("data.map_classes", f"a text file with a name a line; looked for {path}", classes)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ConfigError("data.map_classes", "a text file in UTF-8", f"{path}: {error}") from None
    if twice := sorted({n for n in (*names, UNLABELLED) if (*names, UNLABELLED).count(n) > 1}):
        raise ConfigError("data.map_classes", f"different names, and none that is {UNLABELLED!r}", twice[0])
    if not 1 <= len(names) < VOID:
        raise ConfigError("data.map_classes", f"up to {VOID - 1} names", f"{len(names)} in {path}")
    return (*names, UNLABELLED)


def map_digests(
    root: Path, folder: Path, ids: Sequence[str], classes: Sequence[str], cache: str | None
) -> list[tuple[str, str]]:
    """(id, digest of its map) of each image. All maps are checked here, before anything is trained.

    The size and the classes of an unchanged file are remembered with its digest. Raises DataError for a map that is
    missing, is no map, is not of its image's size, or has a number that is no class.
    """
    names = map_names(folder, ids)
    records = file_digests(folder, names, cache, "segmentation map", _map_record)
    digests = []
    for i, name, record in zip(ids, names, records, strict=True):
        digest, width, height, largest = record.split()
        if (int(width), int(height)) != (size := image_size(root / i)):
            expected = f"the size of its image, {size[0]}x{size[1]}"
            raise DataError(f"{folder / name}: expected {expected}; got {width}x{height}")
        if int(largest) >= len(classes) - 1:
            expected = f"numbers below {len(classes) - 1}, as data.map_classes says, or {VOID}"
            raise DataError(f"{folder / name}: expected {expected}; got {largest}.")
        digests.append((i, digest))
    return digests


def read_maps(
    folder: Path, ids: Sequence[str], size: int, classes: Sequence[str]
) -> UInt8[np.ndarray, "n {size} {size}"]:
    """The maps, cropped and resized as the images are, each pixel the nearest one; 255 becomes the last of the classes.

    Raises DataError for a map that is missing or cannot be read.
    """
    maps = large_zeros(np.uint8, (len(ids), size, size))
    with track("reading segmentation maps", len(ids), "maps") as bar:
        for one, name in zip(maps, map_names(folder, ids), strict=True):
            numbers = class_numbers(folder / name)
            one[...] = square(np.where(numbers == VOID, len(classes) - 1, numbers).astype(np.uint8), size)
            bar.advance()
    return maps


def _map_record(path: Path) -> str:
    """Digest of the bytes, width, height, and the largest number that is not 255."""
    numbers = class_numbers(path)
    digest = hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()
    return f"{digest} {numbers.shape[1]} {numbers.shape[0]} {numbers[numbers != VOID].max(initial=0)}"


def square(numbers: Num[np.ndarray, "h w"], side: int) -> Num[np.ndarray, "{side} {side}"]:
    """The middle square of a map or mask at another size, cut as `read_image` cuts images: the nearest pixels."""
    height, width = numbers.shape
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(Image.fromarray(numbers).resize((side, side), Image.Resampling.NEAREST, box=box))


def class_numbers(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The class of each pixel of a map file, upright by EXIF. Raises DataError for what is no map."""
    image = open_upright(path)
    numbers = np.asarray(image)
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B") or numbers.min() < 0 or numbers.max() > VOID:
        got = f"mode {image.mode}" if numbers.ndim > 2 or image.mode == "F" else f"numbers up to {numbers.max()}"
        raise DataError(
            f"{path}: expected a map of class numbers, 0 to {VOID}, a PNG of greyscale or with a palette; got {got}. "
            "Do: write the numbers, not colours"
        )
    return numbers.astype(np.uint8)
