"""What data sets that are read from files share: the root folder, digests, decoding, and how files become splits."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, DataError, MissingData, did_you_mean
from ablatent.core.fields import OneOf, Text
from ablatent.data.base import SPLITS, TRAIN, VALIDATION, ImageData, Row, limited
from ablatent.data.counts import BEYOND_LIMIT
from ablatent.data.damage import problems_of, unreadable
from ablatent.data.decode import FILTERS, SUFFIXES, check_option, read_images
from ablatent.data.hashing import file_digests
from ablatent.data.listing import Listing, Names, folded, is_utf8, list_files, printable, shortlist

T = TypeVar("T")
OnFault = Annotated[str, OneOf(("error", "skip"))]
FAULT_WAYS = ("error", "skip")
DAMAGED, OF_NO_SPLIT, NOT_UTF8 = "damaged", "in no folder or list of a split", "with a name that is not UTF-8"

# The first that stands beside train/ is the validation split.
VALIDATION_FOLDERS = ("val", "validation", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class ImageFiles(ImageData):
    """Images below `root`; a row's id is its path there. Cropped to the middle square; transparency becomes white.

    resize: antialiasing filter (lanczos, bicubic, bilinear, box) that brings the shorter side to `size`.
    cache: folder for the digests of files, so that an unchanged file is read once; None: read all each time.
    on_damaged: error: an image that cannot be read, or whose name is not UTF-8, stops the plan, which names all of
    them; skip: they are left out, and counted.
    """

    root: Annotated[Text, "folder of the images"] = ""
    resize: Annotated[str, OneOf(FILTERS), "filter of the resizing"] = "lanczos"
    cache: Annotated[Text | None, "folder that remembers digests of files; null: all files are read each time"] = (
        "~/.cache/ablatent"
    )
    on_damaged: Annotated[OnFault, "images that cannot be read: error, which names all, or skip"] = "error"

    obtain: ClassVar[str] = ""
    """How these data are had, as a sentence."""
    published_classes: ClassVar[int] = 1
    """The number of their classes as published: what networks are counted with while the data is not there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("resize", self.resize, tuple(FILTERS))
        check_option("on_damaged", self.on_damaged, FAULT_WAYS)
        check_folder(self.root, self.obtain)

    @property
    def folder(self) -> Path:
        """`root`, with ~ replaced by the home folder."""
        return Path(self.root).expanduser()

    def content(self, rows: Sequence[Row]) -> Any:
        # Pillow's version stays out: its filters are defined by their formula, and an update should retrain nothing.
        return {"files": file_digests(self.folder, [r.id for r in rows], self.cache), "resize": self.resize}

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        files = (self.folder / row.id for row in rows)
        return read_images(((file, str(file)) for file in files), self.size, self.resize, self.name)

    def place(self, row_id: str) -> Path:
        """The file that the image of a row is in."""
        return self.folder / row_id

    def encoded(self, row_id: str) -> Path | bytes:
        """The encoded image of a row, as a file or as bytes; called by several threads."""
        return self.place(row_id)

    def problems(self, rows: Sequence[Row]) -> dict[str, str]:
        """Row id → why its image cannot be read, of those that cannot; each is decoded once."""
        return problems_of(self.folder, [r.id for r in rows], self.cache, self.place, self.encoded)

    def image_names(self) -> list[str]:
        """The names of all images of the splits, also those that are not UTF-8, which no row has."""
        return []

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        """With on_damaged=skip, what `limit` leaves of the images that can be read."""
        rows = self.all_rows()
        used, damaged = limited(rows, self.limit), 0
        while self.on_damaged == "skip" and (problems := self.problems(used)):
            damaged += len(problems)
            rows = [r for r in rows if r.id not in problems]
            used = limited(rows, self.limit)
        others = sum(not is_utf8(name) for name in self.image_names())
        return used, {NOT_UTF8: others, DAMAGED: damaged, BEYOND_LIMIT: len(rows) - len(used)}

    def check(self, rows: Sequence[Row]) -> None:
        """Also raises DataError where a split has no image."""
        others = [] if self.on_damaged == "skip" else [name for name in self.image_names() if not is_utf8(name)]
        if problems := {**dict.fromkeys(others, "its name is not UTF-8"), **self.problems(rows)}:
            raise unreadable(problems, len(rows) + len(others))
        for name, split in SPLITS.items():
            if not any(r.split == split for r in rows):
                do = "See data.on_damaged, and what decides the split." if rows else ""
                raise DataError(
                    f"data.root: expected {name} images; all {len(rows)} are of the other split. {do}".strip()
                )


@dataclass(frozen=True, kw_only=True)
class ListedImages(ImageFiles, ABC):
    """Images anywhere below `root`, whose split stands in lists, in folders, or follows from their names.

    val_list: text file, relative to root, with one image a line (its path below root, or its name alone): these are
    the validation images. train_list: the same for training; None: all others. Without lists, the folders train/ and
    val/ (validation/, valid/, test/) decide; without these, `default_split`. on_missing: error or skip, for lines of
    lists whose image is not there.
    """

    train_list: Annotated[Text | None, "file below root with an image a line; null: all but those of val_list"] = None
    val_list: Annotated[Text | None, "the same for validation; null: folders or validation_fraction decide"] = None
    on_missing: Annotated[OnFault, "lines of lists whose image is not there: error, or skip"] = "error"

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("on_missing", self.on_missing, FAULT_WAYS)
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
        folders, ids = self._folders(), [name for name in self.image_names() if is_utf8(name)]
        if len(ids) < 2:
            raise too_few(self.root, self.suffixes)
        if self.val_list is not None:
            return self._listed(ids, self.val_list)
        splits = [folders[i.split("/", 1)[0]] for i in ids] if folders else self.default_split(ids)
        return [Row(i, split) for i, split in zip(ids, splits, strict=True)]

    def image_names(self) -> list[str]:
        return find_images(self.folder, self._folders() or [""], self.suffixes)

    def _folders(self) -> dict[str, int]:
        """The folders that decide the split, empty where they do not."""
        return split_folders(self.folder) if self.val_list is None else {}

    def _listed(self, ids: Sequence[str], val_list: str) -> list[Row]:
        held_out, absent = listed(self.folder / val_list, ids)
        train = set(ids) - held_out
        if self.train_list is not None:
            train, more = listed(self.folder / self.train_list, ids)
            absent += more
        if absent and self.on_missing == "error":
            raise absent_images(absent, self.folder)
        if both := sorted(train & held_out):
            raise DataError(f"data.train_list, data.val_list: expected no image in both; {both[0]} is in both.")
        splits = dict.fromkeys(train, TRAIN) | dict.fromkeys(held_out, VALIDATION)
        return [Row(i, splits[i]) for i in ids if i in splits]

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        used, left_out = super().chosen()
        images = find_images(self.folder, [""], self.suffixes)
        return used, {OF_NO_SPLIT: len(images) - len(used) - sum(left_out.values()), **left_out}

    def others(self) -> dict[str, int]:
        return other_kinds(list_files(self.folder), self.suffixes)


def find_images(folder: Path, below: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Sorted paths, relative to `folder`, of the files below its given subfolders that have one of the suffixes."""
    return [name for name in list_files(folder, below).files if has_suffix(name, suffixes)]


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file name ends in one of the suffixes, in upper or lower case."""
    return Path(name).suffix.lower() in suffixes


def other_kinds(listing: Listing, suffixes: Sequence[str]) -> dict[str, int]:
    """Kind → number of what lies beside images, the most frequent first; see `Counts`."""
    kinds = Counter(
        printable(Path(n).suffix.lower()) or "without suffix" for n in listing.files if not has_suffix(n, suffixes)
    )
    entered = {"hidden": listing.hidden, "linked in a circle": len(listing.circles), "a store": len(listing.stores)}
    return {**dict(kinds.most_common()), **entered}


def split_folders(folder: Path) -> dict[str, int]:
    """Subfolders that decide the split, or none."""
    held_out = next((v for v in VALIDATION_FOLDERS if (folder / v).is_dir()), None)
    return {"train": TRAIN, held_out: VALIDATION} if held_out and (folder / "train").is_dir() else {}


def listed(path: Path, ids: Sequence[str]) -> tuple[set[str], list[str]]:
    """(the ids that a text file names, by path or by name alone, its lines that name none).

    Raises DataError where several fit.
    """
    by_name: dict[str, list[str]] = {}
    for i in ids:
        by_name.setdefault(folded(i.rsplit("/", 1)[-1]), []).append(i)
    paths, found, absent = Names(ids), set[str](), list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        name = line.strip().removeprefix("./")
        if name:
            as_path = paths.find(name)
            fits = [as_path] if as_path is not None else by_name.get(folded(name), [])
            if len(fits) > 1:
                raise DataError(f"{path}, line {number}: expected one image of that name; {len(fits)} fit {name!r}.")
            absent += [] if fits else [f"{path.name}, line {number} ({name})"]
            found.update(fits)
    return found, absent


def absent_images(lines: Sequence[str], root: Path, near: str = "") -> DataError:
    """The error for lines of lists and tables that name no image; near: the nearest name that is there."""
    do = "Do: take them out, or pass over them by data.on_missing=skip"
    return DataError(
        f"data.on_missing: expected an image below {root} for each caption, and each line of a list; {len(lines)} have "
        f"none: {shortlist(lines)}. {f'{near} ' if near else ''}{do}"
    )


def check_folder(root: str, obtain: str = "", what: str = "an existing folder of images") -> None:
    """Raises MissingData at data.root for a folder that is not there, with the nearest one that is.

    obtain: how the data is had. Raises ConfigError for a path that is not UTF-8, which no record could hold.
    """
    if not is_utf8(root):
        raise ConfigError("data.root", "a path in UTF-8", root, "Do: rename the folder")
    path = Path(root).expanduser()
    if root and path.is_dir():
        return
    if root in ("", "???"):
        raise MissingData("data.root", what, root, f"Do: data.root=FOLDER. {obtain}".strip())
    parent = next(p for p in path.absolute().parents if p.is_dir())
    missing = path.absolute().relative_to(parent).parts[0]
    near = did_you_mean(missing, [p.name for p in parent.iterdir() if p.is_dir()])
    where = f"The nearest folder that exists is {parent}."
    raise MissingData("data.root", what, root, " ".join(t for t in (where, near, obtain) if t))


def first_of(root: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of several paths below root that exists. Raises MissingData that names them all."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    there = ", ".join(sorted(printable(p.name) for p in root.iterdir())[:8]) or "nothing"
    expected = f"a folder with {what} ({' or '.join(candidates)})"
    raise MissingData("data.root", expected, str(root), f"It has {there}.")


def too_few(root: str, suffixes: Sequence[str], left_out: Mapping[str, int] | None = None) -> ConfigError:
    """The error for a folder with fewer than two images of the given suffixes. left_out: reason → number of others."""
    kinds = ", ".join(s[1:] for s in suffixes)
    others = ", ".join(f"{n} {reason}" for reason, n in (left_out or {}).items() if n)
    do = f"Left out: {others}." if others else ""
    return MissingData("data.root", f"a folder with at least two images ({kinds})", root, do)


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
