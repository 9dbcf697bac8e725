"""Segmentation maps beside the pictures of a folder: PNG files of class numbers. Free of torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.progress import track
from ablatent.data.pictures import picture_size

VOID = 255
"""Pixels that belong to no class, in many published sets."""
UNLABELLED = "unlabelled"


def maps_folder(root: Path, maps: str) -> Path:
    """The folder that `maps` names, relative to root. Raises ConfigError when it is not there."""
    folder = root / Path(maps).expanduser()
    if not folder.is_dir():
        near = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        expected = f"a folder of PNG files; looked for {folder}"
        raise ConfigError("data.maps", expected, maps, did_you_mean(folder.name, near))
    return folder


def map_names(folder: Path, ids: Sequence[str]) -> list[str]:
    """The map of each picture, below the folder: the picture's path with .png. Raises DataError for a missing one."""
    names = [Path(i).with_suffix(".png").as_posix() for i in ids]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(
            f"data.maps: expected a map for each of {len(ids)} images in {folder}; {len(missing)} have none, the first "
            f"is {missing[0]}. Do: give each the path of its image, ending in .png, or set data.maps=null"
        )
    return names


def class_list(root: Path, file: str | None) -> tuple[str, ...] | None:
    """The names of a text file, one a line, in order of their numbers; None without a file. Raises ConfigError."""
    if file is None:
        return None
    path = root / Path(file).expanduser()
    if not path.is_file():
        raise ConfigError("data.map_classes", f"a text file with a name a line; looked for {path}", file)
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError("data.map_classes", "different names", twice[0], f"It stands twice in {path}.")
    if not 2 <= len(names) <= VOID:
        raise ConfigError("data.map_classes", f"2 to {VOID} names", f"{len(names)} in {path}")
    return tuple(names)


def read_maps(
    root: Path, folder: Path, ids: Sequence[str], size: int, classes: tuple[str, ...] | None
) -> tuple[UInt8[np.ndarray, "n {size} {size}"], tuple[str, ...]]:
    """(maps, names of their classes), cut and made small as the pictures are, each pixel the nearest one.

    classes: the names; None: their numbers. Where a map has pixels of 255, a last class, "unlabelled", is theirs.
    Raises DataError for a map that is no map, is not of its picture's size, or has a number without a name.
    """
    maps = np.zeros((len(ids), size, size), dtype=np.uint8)
    with track("reading segmentation maps", len(ids), "maps") as bar:
        for one, i, name in zip(maps, ids, map_names(folder, ids), strict=True):
            one[...] = _read(folder / name, picture_size(root / i), size)
            most = int(one[one != VOID].max(initial=0))
            if classes is not None and most >= len(classes):
                raise DataError(f"{folder / name}: expected numbers below {len(classes)}, of data.map_classes; {most}.")
            bar.advance()
    void = maps == VOID
    named = classes or tuple(str(k) for k in range(int(maps[~void].max(initial=0)) + 1))
    if void.any():
        maps[void], named = len(named), (*named, UNLABELLED)
    return maps, named


def _read(path: Path, size: tuple[int, int], side: int) -> UInt8[np.ndarray, "side side"]:
    """size: (width, height) of the picture."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}. Do: mend or remove the file") from error
    if image.mode not in ("L", "P"):
        raise DataError(
            f"{path}: expected a map of class numbers, a PNG of 8-bit grey levels or with a palette; got mode "
            f"{image.mode}. Do: write the numbers, not colours"
        )
    if image.size != size:
        got = "x".join(str(n) for n in image.size)
        raise DataError(f"{path}: expected the size of its image, {size[0]}x{size[1]}; got {got}")
    numbers = Image.fromarray(np.asarray(image))
    short = min(size)
    left, top = (size[0] - short) / 2, (size[1] - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(numbers.resize((side, side), Image.Resampling.NEAREST, box=box))
