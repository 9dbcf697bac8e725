"""LSUN (Yu et al. 2015): one category, from its LMDB of encoded images or from exported files. Free of torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Text
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row, check_fraction, split_by_hash
from ablatent.data.damage import problems_of
from ablatent.data.decode import read_images
from ablatent.data.files import ListedImages, cached_per_file
from ablatent.data.hashing import file_digests

FILE = "data.mdb"
PARTS = {"train": TRAIN, "val": VALIDATION}


@dataclass(frozen=True, kw_only=True)
class LSUN(ListedImages):
    """CATEGORY_train_lmdb/ and CATEGORY_val_lmdb/ below root, as they are downloaded; where they are not there,
    exported images below root, split by lists, by folders train/ and val/, or by a hash that holds out
    `validation_fraction`.

    category: bedroom, church_outdoor, … An LMDB needs the package lmdb.
    """

    category: Annotated[Text, "bedroom, church_outdoor, …"] = "bedroom"
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.01

    name: ClassVar[str] = "lsun"
    obtain: ClassVar[str] = "LSUN: one category by download.py of github.com/fyu/lsun, unzipped."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        there = [part for part in PARTS if (self.folder / self.database(part)).is_dir()]
        if len(there) == 1:
            missing = next(part for part in PARTS if part not in there)
            raise ConfigError("data.root", f"a folder with {self.database(missing)} beside the other", self.root)

    def database(self, part: str) -> str:
        """The folder of the LMDB of a split (train, val), relative to root."""
        return f"{self.category}_{part}_lmdb"

    @property
    def packed(self) -> bool:
        """Whether the images are in LMDBs."""
        return (self.folder / self.database("train")).is_dir()

    def default_split(self, ids: Sequence[str]) -> list[int]:
        return split_by_hash(ids, self.validation_fraction)

    def all_rows(self) -> list[Row]:
        if not self.packed:
            return super().all_rows()
        rows = []
        for part, split in PARTS.items():
            rows += [Row(f"{part}/{key}", split) for key in _keys(self.folder / self.database(part) / FILE)]
        return rows

    def content(self, rows: Sequence[Row]) -> Any:
        if not self.packed:
            return super().content(rows)
        names = [f"{self.database(part)}/{FILE}" for part in PARTS]
        return {"lmdb": file_digests(self.folder, names, self.cache), "resize": self.resize}

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        if not self.packed:
            return super().images(rows)
        return read_images(self._packed(rows), self.size, self.resize, self.name)

    def _packed(self, rows: Sequence[Row]) -> Iterator[tuple[bytes, str]]:
        """The encoded image of each row, and its name."""
        for part in PARTS:  # all rows of a split stand together
            wanted = [r.id.split("/", 1)[1] for r in rows if r.id.startswith(f"{part}/")]
            file = self.folder / self.database(part) / FILE
            with _opened(file) as transaction:
                for key in wanted:
                    value = transaction.get(key.encode())
                    if value is None:
                        raise DataError(f"{file}: expected the key {key}; it is gone.")
                    yield bytes(value), f"{file}, key {key}"

    def problems(self, rows: Sequence[Row]) -> dict[str, str]:
        if not self.packed:
            return super().problems(rows)
        problems: dict[str, str] = {}
        for part in PARTS:
            names = [r.id for r in rows if r.id.startswith(f"{part}/")]
            problems |= self._problems_in(self.folder / self.database(part) / FILE, names)
        return problems

    def _problems_in(self, file: Path, names: Sequence[str]) -> dict[str, str]:
        one_by_one = Lock()  # a transaction is for one thread at a time
        with _opened(file) as transaction:

            def encoded(name: str) -> bytes:
                with one_by_one:
                    return bytes(transaction.get(name.split("/", 1)[1].encode()) or b"")

            return problems_of(self.folder, names, self.cache, lambda name: file, encoded)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        return Annotations()


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A reading transaction on an LMDB. Raises ConfigError without the package, DataError for what is no database."""
    try:
        import lmdb
    except ImportError:
        do = "Do: pip install lmdb, or export the images to files"
        raise ConfigError("data.root", "the package lmdb, to read LSUN's databases", str(file.parent), do) from None
    try:
        environment = lmdb.open(str(file.parent), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{file}: expected an LMDB; {error}") from error
    try:
        with environment.begin() as transaction:
            yield transaction
    finally:
        environment.close()


@cached_per_file
def _keys(file: Path) -> list[str]:
    """All keys, in the order of the database: LMDB sorts them."""
    with _opened(file) as transaction:
        return [bytes(key).decode() for key in transaction.cursor().iternext(keys=True, values=False)]
