"""WebDataset shards: tar files whose members NAME.jpg, NAME.txt, NAME.cls, NAME.json belong together. Free of torch."""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Text
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row, check_fraction, split_by_hash
from ablatent.data.decode import SUFFIXES, read_images
from ablatent.data.files import ImageFiles, cached_per_file
from ablatent.data.hashing import file_digests
from ablatent.data.listing import is_utf8

Place = tuple[int, int]
"""Where a member's bytes begin in its shard, and how many they are."""


@dataclass(frozen=True, kw_only=True)
class WebDataset(ImageFiles):
    """Shards below root, read with the standard library; they must not be compressed.

    train, validation: patterns of file names; where no shard fits the second, a share of the images of the first,
    `validation_fraction`, is held out by a hash of their names. Captions: NAME.txt, or "caption" in NAME.json; classes:
    the number in NAME.cls, or "label" in NAME.json, with names from classes.txt (one a line) below root where it is.
    Either is used if every image has it.
    """

    train: Annotated[Text, "pattern of file names below root"] = "*train*.tar"
    validation: Annotated[Text, "pattern of file names below root; where none fits, validation_fraction decides"] = (
        "*val*.tar"
    )
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.01

    name: ClassVar[str] = "webdataset"
    obtain: ClassVar[str] = "Shards of image-text pairs are made by github.com/rom1504/img2dataset, for example."
    offers: ClassVar[tuple[str, ...]] = ("captions", "labels")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        if not self.shards(self.train):
            there = sorted(p.name for p in self.folder.iterdir())[:8]
            raise ConfigError("data.train", f"a pattern of shards in {self.root}", self.train, f"It has {there}.")

    def shards(self, pattern: str) -> list[str]:
        """Sorted paths, relative to root, of the shards whose name fits a pattern."""
        return sorted(p.relative_to(self.folder).as_posix() for p in self.folder.glob(pattern))

    def samples(self, row: Row) -> dict[str, Place]:
        """Suffix → place of the members of a row."""
        shard, key = row.id.split(":", 1)
        return _index(self.folder / shard)[key]

    def image_names(self) -> list[str]:
        return [*self._images_of(self.train), *self._images_of(self.validation)]

    def _images_of(self, pattern: str) -> list[str]:
        """SHARD:NAME of each sample with an image, of the shards that fit a pattern."""
        return [f"{shard}:{key}" for shard in self.shards(pattern) for key in _image_keys(self.folder / shard)]

    def all_rows(self) -> list[Row]:
        train, validation = (
            [i for i in self._images_of(pattern) if is_utf8(i)] for pattern in (self.train, self.validation)
        )
        if validation:
            return [*(Row(i, TRAIN) for i in train), *(Row(i, VALIDATION) for i in validation)]
        splits = split_by_hash(train, self.validation_fraction)
        return [Row(i, split) for i, split in zip(train, splits, strict=True)]

    def content(self, rows: Sequence[Row]) -> Any:
        shards = sorted({r.id.split(":", 1)[0] for r in rows})
        # of the images alone, so that new captions retrain no first stage
        return {
            "shards": file_digests(self.folder, shards, self.cache, "images of tar", _digest),
            "resize": self.resize,
        }

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        encoded = ((self.encoded(row.id), f"{self.folder}/{row.id}") for row in rows)
        return read_images(encoded, self.size, self.resize, self.name)

    def place(self, row_id: str) -> Path:
        return self.folder / row_id.split(":", 1)[0]

    def encoded(self, row_id: str) -> bytes:
        row = Row(row_id, TRAIN)
        members = self.samples(row)
        return self._read(row, next(members[s] for s in SUFFIXES if s in members))

    def _read(self, row: Row, place: Place) -> bytes:
        with self.place(row.id).open("rb") as f:
            f.seek(place[0])
            return f.read(place[1])

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        metadata = [self._metadata(row) for row in rows]
        captions = [m.get("caption") for m in metadata]
        labels = [m.get("label") for m in metadata]
        numbers = None if None in labels else np.array([int(str(label)) for label in labels], dtype=np.int64)
        return Annotations(
            numbers,
            () if numbers is None else self._names(int(numbers.max()) + 1),
            None if None in captions else [str(c) for c in captions],
        )

    def _metadata(self, row: Row) -> dict[str, Any]:
        """caption and label of a row, where it has them."""
        members, metadata = self.samples(row), {}
        try:
            if ".json" in members:
                whole = json.loads(self._read(row, members[".json"]))
                metadata = {k: whole[k] for k in ("caption", "label") if k in whole}
            if ".txt" in members:
                metadata["caption"] = " ".join(self._read(row, members[".txt"]).decode().split())
            if ".cls" in members:
                metadata["label"] = int(self._read(row, members[".cls"]))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.folder}/{row.id}: expected a caption or a class number; {error}") from error
        return metadata

    def _names(self, count: int) -> tuple[str, ...]:
        file = self.folder / "classes.txt"
        if not file.is_file():
            return tuple(str(i) for i in range(count))
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        if len(names) < count:
            raise DataError(f"{file}: expected a name for each of {count} classes; got {len(names)}.")
        return names


@cached_per_file
def _index(shard: Path) -> dict[str, dict[str, Place]]:
    """Name of a sample, up to the first dot → suffix → place. Raises DataError for what is no plain tar file."""
    found: dict[str, dict[str, Place]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                key, dot, suffix = name.partition(".")
                if member.isfile() and key and dot:
                    whole = f"{folder}/{key}" if folder else key
                    found.setdefault(whole, {})[f".{suffix.lower()}"] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{shard}: expected a tar file, not compressed; {error}") from error
    return found


def _image_keys(shard: Path) -> list[str]:
    """Names of the samples that have an image, in the order of the shard."""
    return [key for key, members in _index(shard).items() if any(s in members for s in SUFFIXES)]


def _digest(shard: Path) -> str:
    """blake2b-32 of the names and bytes of all images of a shard."""
    digest = hashlib.blake2b(digest_size=32)
    with shard.open("rb") as f:
        for key, members in _index(shard).items():
            for suffix in SUFFIXES:
                if suffix in members:
                    offset, size = members[suffix]
                    f.seek(offset)
                    digest.update(json.dumps([key, suffix, size]).encode() + f.read(size))
    return digest.hexdigest()
