"""scikit-learn's 1,797 handwritten digits, 8×8 (UCI optdigits, test part): for runs and tests that must be instant."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from einops import repeat
from jaxtyping import Float64, Int64, UInt8

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations, ImageData, Row, check_fraction, split_by_hash

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE, LEVELS = 8, 16


@dataclass(frozen=True)
class Digits(ImageData):
    """Each source pixel becomes a block of (size/8)² equal pixels; size must be a multiple of 8."""

    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1

    name: ClassVar[str] = "digits"
    offers: ClassVar[tuple[str, ...]] = ("labels",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        if self.size % SIDE:
            raise ConfigError("data.size", f"a multiple of {SIDE}, as each source pixel becomes a square", self.size)

    def all_rows(self) -> list[Row]:
        ids = [f"digit-{i:04d}" for i in range(len(_source()[1]))]
        return [Row(i, split) for i, split in zip(ids, split_by_hash(ids, self.validation_fraction), strict=True)]

    def content(self, rows: Sequence[Row]) -> Any:
        chosen = _source()[0][_numbers(rows)]
        return {
            "pixels": hashlib.blake2b(chosen.astype("<f8").tobytes(), digest_size=32).hexdigest(),
            "resize": "nearest",
        }

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        block = self.size // SIDE
        for image in _source()[0][_numbers(rows)]:
            grey = np.rint(image * (255 / LEVELS)).astype(np.uint8)
            yield repeat(grey, "h w -> (h a) (w b) c", a=block, b=block, c=3)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        labels = _source()[1][_numbers(rows)]
        return Annotations(labels, CLASSES, [CLASSES[i] for i in labels])


def _numbers(rows: Sequence[Row]) -> list[int]:
    return [int(r.id.rsplit("-", 1)[1]) for r in rows]


@cache
def _source() -> tuple[Float64[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    """Images with values 0 to 16, and their digits; part of the installed package, so kept.

    Read as `sklearn.datasets.load_digits` does, without the import of scikit-learn, which takes longer than all else.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("data=digits: expected scikit-learn, whose digits these are. Do: pip install scikit-learn.")
    table = np.loadtxt(Path(spec.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64)
