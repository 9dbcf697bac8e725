"""What every data set is: rows with a fixed split, images, annotations, and a digest of each. Free of torch.

A new data set is one subclass of `ImageData` and one YAML in conf/data. It says which rows there are, what their
images are made of, how to draw them, and their annotations; limits, digests and files are the same for all and live
here.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from ablatent.core.arrays import new_array
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, OneOf
from ablatent.core.files import write_json
from ablatent.core.progress import track
from ablatent.data.annotation_kinds import BUILT_IN
from ablatent.data.boxes import Box
from ablatent.data.counts import BEYOND_LIMIT, Counts
from ablatent.data.decode import in_channels

TRAIN, VALIDATION = 0, 1
SPLITS = {"train": TRAIN, "validation": VALIDATION}
MIN_VALIDATION = 64
PIXELS, ROWS = "pixels.npy", "rows.json"
RGB = 3


@dataclass(frozen=True)
class Fingerprint:
    """Hex digests (blake2b, 32 bytes) of what the images and of what the annotations are made of.

    They are apart, so that new captions retrain nothing that saw only images.
    """

    images: str
    annotations: str


@dataclass(frozen=True)
class Row:
    """One image: its id within the source, its split (0 train, 1 validation), and flags such as ``skin_tone``."""

    id: str
    split: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """What is known of each image, in the order of the prepared pixels.

    labels: class indices into `classes`, or None; captions: one English line for each, or None; boxes: the objects of
    each image as (class index, x0, y0, x1, y1) of the prepared square, or None; segmentation: the class of each pixel
    of the prepared square, an index into `segments`, or None. extra: further annotations by name, for example
    ``{"age": (n,) float32}``: arrays with a row an image, which conditioners name in their `needs`.
    """

    labels: Int64[np.ndarray, " n"] | None = None
    classes: tuple[str, ...] = ()
    captions: list[str] | None = None
    boxes: list[list[Box]] | None = None
    segmentation: UInt8[np.ndarray, "n h w"] | None = None
    segments: tuple[str, ...] = ()
    extra: Mapping[str, Shaped[np.ndarray, "n ..."]] = field(default_factory=dict)

    def part(self, name: str) -> Any:
        """The annotations of that name, a row an image; None where the data has none."""
        return getattr(self, name) if name in BUILT_IN else self.extra.get(name)

    def digest(self) -> str:
        """Hex digest (blake2b, 32 bytes) of everything that is here."""
        labels = None if self.labels is None else hashlib.blake2b(self.labels.tobytes(), digest_size=32).hexdigest()
        value: dict[str, Any] = {"labels": labels, "classes": list(self.classes), "captions": self.captions}
        # these came later: without them the digest is what it was
        if self.boxes is not None:
            value |= {"boxes": self.boxes}
        if self.segmentation is not None:
            pixels = hashlib.blake2b(np.ascontiguousarray(self.segmentation).data, digest_size=32).hexdigest()
            value |= {"segmentation": pixels, "segments": list(self.segments)}
        if self.extra:
            value |= {"extra": {name: _array_digest(array) for name, array in self.extra.items()}}
        return digest_of(value)

    def rows(self, index: Sequence[int] | np.ndarray) -> "Annotations":
        """What is known of the given images alone."""
        i = np.asarray(index, dtype=np.int64)
        return Annotations(
            None if self.labels is None else self.labels[i],
            self.classes,
            None if self.captions is None else [self.captions[k] for k in i],
            None if self.boxes is None else [self.boxes[k] for k in i],
            None if self.segmentation is None else self.segmentation[i],
            self.segments,
            {name: np.asarray(array)[i] for name, array in self.extra.items()},
        )


def _array_digest(array: Shaped[np.ndarray, "n ..."]) -> str:
    values = np.ascontiguousarray(array)
    content = hashlib.blake2b(f"{values.dtype}/{values.shape}".encode(), digest_size=32)
    content.update(values.tobytes())
    return content.hexdigest()


@dataclass(frozen=True)
class ImageData(ABC):
    """Base of all data sets; constructor arguments are the keys of the YAML.

    size: side of the square images in pixels; limit: at most so many training images (None: all). Validation is cut
    in the same proportion, but not below 64. A smaller limit takes a subset of what a larger one takes. channels: of
    the images, 3 (RGB) or 1 (greyscale; of colours the luma of ITU-R BT.601).
    Constructing and fingerprinting read the source only: no prepared files, no torch.
    """

    size: Annotated[Count, "side of the square images in pixels"]
    limit: Annotated[Count | None, "training images at most; null: all"] = None
    channels: Annotated[int, OneOf((1, 3)), "of the images: RGB, or greyscale"] = field(default=3, kw_only=True)

    neutral: ClassVar = {"channels": 3}
    name: ClassVar[str] = ""
    credit: ClassVar[str] = ""
    """Whom to name wherever the images are shown."""
    offers: ClassVar[tuple[str, ...]] = ()
    """Annotations that it has, or may have by its options: what messages suggest it for."""
    mirrored_captions_hold: ClassVar[bool] = True
    """Whether captions are true of mirrored images too: not where they say what is left and right."""
    # Raised by hand when the same source would give other pixels or another split.
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not _counts(self.size):
            raise ConfigError("data.size", "a side in pixels, an integer of at least 1", self.size)
        if self.limit is not None and not _counts(self.limit):
            raise ConfigError("data.limit", "a number of training images, at least 1, or null for all", self.limit)

    @abstractmethod
    def all_rows(self) -> list[Row]:
        """Every row of the source, in a fixed order, before `limit`."""

    @abstractmethod
    def content(self, rows: Sequence[Row]) -> Any:
        """JSON value that decides the pixels of these rows: digests of source bytes, options, rasteriser."""

    @abstractmethod
    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """The image of each row in turn, (size, size, 3) uint8 RGB."""

    @abstractmethod
    def annotate(self, rows: Sequence[Row]) -> Annotations:
        """Labels and captions of these rows, from the source."""

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        """(the rows that are used, reason → number of those that are not)."""
        rows = self.all_rows()
        used = limited(rows, self.limit)
        return used, {BEYOND_LIMIT: len(rows) - len(used)}

    def rows(self) -> list[Row]:
        """The rows that are used: those that `limit` leaves."""
        return self.chosen()[0]

    def others(self) -> dict[str, int]:
        """Kind → number of files of the source that are no images of the set."""
        return {}

    def counts(self) -> Counts:
        """How many images are used, and why others are not."""
        rows, left_out = self.chosen()
        validation = sum(r.split == VALIDATION for r in rows)
        return Counts(
            found=len(rows) + sum(left_out.values()),
            train=len(rows) - validation,
            validation=validation,
            left_out={reason: n for reason, n in left_out.items() if n},
            others={kind: n for kind, n in self.others().items() if n},
            classes=self.annotate(rows[:1]).classes,
        )

    def annotations(self) -> Annotations:
        """Labels and captions, aligned with the prepared pixels."""
        return self.annotate(self.rows())

    def outline(self) -> Annotations:
        """The annotations of the first row alone: their kinds and all class names are the same for every row."""
        return self.annotate(self.rows()[:1])

    def fingerprint(self) -> Fingerprint:
        """Digests of the source, equal on every machine that has the same data."""
        rows = self.rows()
        self.check(rows)
        return Fingerprint(images=self.images_digest(rows), annotations=self.annotations_digest(rows))

    def check(self, rows: Sequence[Row]) -> None:  # noqa: B027  (sets that draw their images have nothing to check)
        """Raise DataError for rows that cannot be used, before anything is planned with them."""

    def annotations_digest(self, rows: Sequence[Row]) -> str:
        """Digest of what is known of these rows."""
        return self.annotate(rows).digest()

    def images_digest(self, rows: Sequence[Row]) -> str:
        """Digest of what decides the images of these rows."""
        decides = {
            "set": self.name,
            "version": self.version,
            "size": self.size,
            "rows": [[r.id, r.split, list(r.flags)] for r in rows],
            "content": self.content(rows),
        }
        # this came later: images in RGB have the digest that they had
        return digest_of(decides if self.channels == RGB else {**decides, "channels": self.channels})

    def prepare(self, folder: Path) -> None:
        """Write pixels.npy and rows.json into `folder`. Raises DataError for an image that cannot be read."""
        rows = self.rows()
        folder.mkdir(parents=True, exist_ok=True)
        pixels = new_array(folder / PIXELS, np.uint8, (len(rows), self.size, self.size, self.channels))
        with track(f"preparing {self.name}", len(rows), "images") as bar:
            for i, image in enumerate(self.images(rows)):
                pixels[i] = in_channels(image, self.channels)
                bar.advance()
        pixels.flush()
        flags: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            for flag in row.flags:
                flags.setdefault(flag, []).append(i)
        write_json(folder / ROWS, {"ids": [r.id for r in rows], "split": [r.split for r in rows], "flags": flags})


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def digest_of(value: Any) -> str:
    """blake2b-32 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def position(text: str, purpose: str) -> float:
    """A number in [0, 1) that depends on text and purpose only: the same on every machine and in any set."""
    value = hashlib.blake2b(f"{purpose}/{text}".encode(), digest_size=8).digest()
    return int.from_bytes(value, "big") / 2**64


def split_by_hash(groups: Sequence[str], fraction: float) -> list[int]:
    """Split of each row from the name of its group: a group is never in both, and adding rows moves none of the others.

    Sets so small that chance leaves one side empty get the group next in line moved, so that both sides have some.
    """
    places = {g: position(g, "split") for g in groups}
    chosen = {g for g, place in places.items() if place < fraction}
    if len(places) > 1 and not chosen:
        chosen = {min(places, key=lambda g: places[g])}
    elif len(places) > 1 and len(chosen) == len(places):
        chosen.remove(max(places, key=lambda g: places[g]))
    return [VALIDATION if g in chosen else TRAIN for g in groups]


def check_fraction(value: float) -> None:
    """Raises ConfigError unless 0 < value < 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigError("data.validation_fraction", "a share of the images between 0 and 1, both excluded", value)


def limited(rows: list[Row], limit: int | None) -> list[Row]:
    """At most `limit` training rows and as large a share of validation (at least 64), spread by a hash of their ids."""
    train = sum(r.split == TRAIN for r in rows)
    if limit is None or train <= limit:
        return rows
    validation = len(rows) - train
    keep = {TRAIN: limit, VALIDATION: max(min(MIN_VALIDATION, validation), round(validation * limit / train))}
    order = sorted(range(len(rows)), key=lambda i: position(rows[i].id, "limit"))
    kept: list[int] = []
    for split, count in keep.items():
        kept += [i for i in order if rows[i].split == split][:count]
    return [rows[i] for i in sorted(kept)]
