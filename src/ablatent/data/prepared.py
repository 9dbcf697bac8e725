"""A prepared data set, as `ImageData.prepare` wrote it. Free of torch."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64, UInt8

from ablatent.core.errors import DataError
from ablatent.core.files import read_json
from ablatent.data.base import PIXELS, RGB, ROWS, SPLITS

GREY = 1


@dataclass(frozen=True)
class Images:
    """A prepared data set: pixels (N, H, W, C) uint8, RGB or grey (C = 1), memory-mapped; split (N,); ids; row numbers
    of each flag."""

    pixels: UInt8[np.ndarray, "n h w C"]
    split: Int8[np.ndarray, " n"]
    ids: list[str]
    flags: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def indices(self, split: str) -> Int64[np.ndarray, " k"]:
        """Rows of ``"train"`` or ``"validation"``, ascending. Raises DataError for another word."""
        if split not in SPLITS:
            raise DataError(f"split: expected one of {', '.join(SPLITS)}; got {split!r}")
        return np.flatnonzero(self.split == SPLITS[split]).astype(np.int64)


def load_images(folder: Path) -> Images:
    """Open what `prepare` wrote; pixels stay on disk. Raises DataError for files that are missing or do not fit."""
    try:
        pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        rows = read_json(folder / ROWS)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: expected {PIXELS} and {ROWS} of a prepared data set; got: {error}") from error
    n = len(rows["ids"])
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 4
        or pixels.shape[3] not in (GREY, RGB)
        or len(pixels) != n
        or len(rows["split"]) != n
    ):
        raise DataError(
            f"{folder}: expected {n} RGB or grey uint8 images as {ROWS} says; got {pixels.dtype} {pixels.shape}"
        )
    return Images(pixels, np.asarray(rows["split"], dtype=np.int8), rows["ids"], rows["flags"])
