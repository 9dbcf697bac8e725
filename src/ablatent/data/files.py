"""What data sets that are read from files share: the root folder, digests, decoding, and how files become splits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.fields import OneOf, Text
from ablatent.data.base import TRAIN, VALIDATION, ImageData, Row
from ablatent.data.decode import FILTERS, SUFFIXES, DarkImages, check_option, read_image
from ablatent.data.hashing import file_digests

T = TypeVar("T")

# The first that stands beside train/ is the validation split.
VALIDATION_FOLDERS = ("val", "validation", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class ImageFiles(ImageData):
    """Images below `root`; a row's id is its path there. Cropped to the middle square; transparency becomes white.

    resize: antialiasing filter (lanczos, bicubic, bilinear, box) that brings the shorter side to `size`.
    cache: folder for the digests of files, so that an unchanged file is read once; None: read all each time.
    """

    root: Annotated[Text, "folder of the images"] = ""
    resize: Annotated[str, OneOf(FILTERS), "filter of the resizing"] = "lanczos"
    cache: Annotated[Text | None, "folder that remembers digests of files; null: all files are read each time"] = (
        "~/.cache/ablatent"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("resize", self.resize, tuple(FILTERS))
        check_folder(self.root)

    @property
    def folder(self) -> Path:
        """`root`, with ~ replaced by the home folder."""
        return Path(self.root).expanduser()

    def content(self, rows: Sequence[Row]) -> Any:
        # Pillow's version stays out: its filters are defined by their formula, and an update should retrain nothing.
        return {"files": file_digests(self.folder, [r.id for r in rows], self.cache), "resize": self.resize}

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        dark = DarkImages(self.name)
        for row in rows:
            yield read_image(self.folder / row.id, self.size, self.resize, dark=dark)
        dark.say()


@dataclass(frozen=True, kw_only=True)
class ListedImages(ImageFiles, ABC):
    """Images anywhere below `root`, whose split stands in lists, in folders, or follows from their names.

    val_list: text file, relative to root, with one image a line (its path below root, or its name alone): these are
    the validation images. train_list: the same for training; None: all others. Without lists, the folders train/ and
    val/ (validation/, valid/, test/) decide; without these, `default_split`.
    """

    train_list: Annotated[Text | None, "file below root with an image a line; null: all but those of val_list"] = None
    val_list: Annotated[Text | None, "the same for validation; null: folders or validation_fraction decide"] = None

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_list is not None and self.val_list is None:
            raise ConfigError("data.val_list", "a list of the validation images beside data.train_list", None)
        for key, value in (("train_list", self.train_list), ("val_list", self.val_list)):
            if value is not None and not (self.folder / value).is_file():
                near = did_you_mean(Path(value).name, [p.name for p in self.folder.iterdir() if p.is_file()])
                raise ConfigError(f"data.{key}", f"an existing file; looked for {self.folder / value}", value, near)

    @abstractmethod
    def default_split(self, ids: Sequence[str]) -> list[int]:
        """The split of each image where neither lists nor folders decide."""

    def all_rows(self) -> list[Row]:
        folders = split_folders(self.folder) if self.val_list is None else {}
        ids = find_images(self.folder, folders or [""], self.suffixes)
        if len(ids) < 2:
            raise too_few(self.root, self.suffixes)
        if self.val_list is not None:
            return self._listed(ids, self.val_list)
        splits = [folders[i.split("/", 1)[0]] for i in ids] if folders else self.default_split(ids)
        return [Row(i, split) for i, split in zip(ids, splits, strict=True)]

    def _listed(self, ids: Sequence[str], val_list: str) -> list[Row]:
        held_out = listed(self.folder / val_list, ids)
        train = set(ids) - held_out if self.train_list is None else listed(self.folder / self.train_list, ids)
        if both := sorted(train & held_out):
            raise DataError(f"data.train_list, data.val_list: expected no image in both; {both[0]} is in both.")
        splits = dict.fromkeys(train, TRAIN) | dict.fromkeys(held_out, VALIDATION)
        return [Row(i, splits[i]) for i in ids if i in splits]


def find_images(folder: Path, below: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Sorted paths, relative to `folder`, of the files below its given subfolders that have one of the suffixes."""
    paths = [p.relative_to(folder) for part in below for p in (folder / part).rglob("*")]
    # Hidden files are left alone: macOS writes ._image.jpg beside images.
    return sorted(
        p.as_posix() for p in paths if p.suffix.lower() in suffixes and not any(s.startswith(".") for s in p.parts)
    )


def split_folders(folder: Path) -> dict[str, int]:
    """Subfolders that decide the split, or none."""
    held_out = next((v for v in VALIDATION_FOLDERS if (folder / v).is_dir()), None)
    return {"train": TRAIN, held_out: VALIDATION} if held_out and (folder / "train").is_dir() else {}


def listed(path: Path, ids: Sequence[str]) -> set[str]:
    """The ids that a text file names, by path or by name alone. Raises DataError where none or several fit."""
    by_name: dict[str, list[str]] = {}
    for i in ids:
        by_name.setdefault(i.rsplit("/", 1)[-1], []).append(i)
    paths, found = set(ids), set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        name = line.strip().removeprefix("./")
        if name:
            fits = [name] if name in paths else by_name.get(name, [])
            if len(fits) != 1:
                raise DataError(f"{path}, line {number}: expected one image of that name; {len(fits)} fit {name!r}.")
            found.add(fits[0])
    return found


def check_folder(root: str, what: str = "an existing folder of images") -> None:
    """Raises ConfigError at data.root for a folder that is not there, with the nearest one that is."""
    path = Path(root).expanduser()
    if root and path.is_dir():
        return
    parent = next(p for p in path.absolute().parents if p.is_dir())
    missing = path.absolute().relative_to(parent).parts[0] if root else ""
    do = did_you_mean(missing, [p.name for p in parent.iterdir() if p.is_dir()]) if root else "Do: data.root=FOLDER"
    where = f"The nearest folder that exists is {parent}." if root else ""
    raise ConfigError("data.root", what, root, " ".join(t for t in (where, do) if t))


def first_of(root: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of several paths below root that exists. Raises ConfigError that names them all."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    there = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
    expected = f"a folder with {what} ({' or '.join(candidates)})"
    raise ConfigError("data.root", expected, str(root), f"It has {there}.")


def too_few(root: str, suffixes: Sequence[str]) -> ConfigError:
    """The ConfigError for a folder with fewer than two images of the given suffixes."""
    kinds = ", ".join(s[1:] for s in suffixes)
    return ConfigError("data.root", f"a folder with at least two images ({kinds})", root)


def cached_per_file(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """read(path), kept while a process runs and the file stays the same by size and time of change."""
    cached: dict[Path, tuple[tuple[int, int], T]] = {}

    def again(path: Path) -> T:
        stat = path.stat()
        seen = (stat.st_size, stat.st_mtime_ns)
        if path not in cached or cached[path][0] != seen:
            cached[path] = (seen, read(path))
        return cached[path][1]

    return again
