"""The files below a folder, links followed, and how names are compared. Free of torch."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablatent.core.errors import DataError

STORE = {"FORMAT", "objects"}
"""In every store that has something in it."""
Place = tuple[int, int]
"""Device and number of a folder: the same under all its names."""


@dataclass
class Listing:
    """Everything below a folder, as paths relative to it.

    files: all but folders, also links to nothing; hidden: how many files and folders begin with a dot, which are left
    alone (macOS writes ._image.jpg beside images); circles: links to a folder that they are in, which are not entered;
    stores: below the folder, whose samples and figures are no data.
    """

    files: list[str] = field(default_factory=list)
    hidden: int = 0
    circles: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)

    def enter(self, folder: Path, below: str, above: tuple[Place, ...]) -> None:
        """Add what is in `folder`, whose path is `below` (empty, or with a slash at its end); above: folders around it.

        Raises DataError for a folder that cannot be listed.
        """
        try:
            stat, entries = folder.stat(), sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"{printable(folder)}: expected a folder that can be read; got {error.strerror}."
            ) from error
        place = (stat.st_dev, stat.st_ino)
        if place in above:
            self.circles.append(below.rstrip("/"))
            return
        if above and {entry.name for entry in entries} >= STORE:
            self.stores.append(below.rstrip("/"))
            return
        for entry in entries:
            if entry.name.startswith("."):
                self.hidden += 1
            elif entry.is_dir():
                self.enter(Path(entry.path), f"{below}{entry.name}/", (*above, place))
            else:
                self.files.append(below + entry.name)


def list_files(folder: Path, below: Iterable[str] = ("",)) -> Listing:
    """What is below `folder`, or below its given subfolders alone; sorted. Raises DataError for unreadable folders."""
    listing = Listing()
    for part in below:
        listing.enter(folder / part, f"{part}/" if part else "", ())
    listing.files.sort()
    return listing


def printable(text: object) -> str:
    """A name as one line of text: control characters, and bytes that are not UTF-8, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def shortlist(names: Sequence[str], length: int = 10) -> str:
    """The first so many names, printable, and how many more there are."""
    more = f" and {len(names) - length} more" if len(names) > length else ""
    return ", ".join(printable(name) for name in names[:length]) + more


def is_utf8(name: str) -> bool:
    """Whether a file name is text: in others Python puts surrogates for the bytes that it cannot read."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def folded(name: str) -> str:
    """A name as names are compared: é may be one character in a table and e with an accent on a disk (NFC and NFD)."""
    return unicodedata.normalize("NFC", name)


def existing(folder: Path, name: str) -> str | None:
    """The path `name` below `folder` as the disk writes it, with its accents in either form; None where it is not."""
    if (folder / name).exists():
        return name
    path = Path()
    for part in Path(name).parts:
        forms = (unicodedata.normalize(form, part) for form in ("NFC", "NFD"))
        form = next((form for form in (part, *forms) if (folder / path / form).exists()), None)
        if form is None:
            return None
        path /= form
    return path.as_posix()


class Names:
    """File names that are found however their accents are written. A name that is there as it is comes first."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact = set(names)
        self.by_folded = {folded(name): name for name in sorted(self.exact)}

    def find(self, name: str) -> str | None:
        """The name of the file as the disk has it, or None."""
        return name if name in self.exact else self.by_folded.get(folded(name))


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Distinct names, sorted; by number where all are numbers: 2 comes before 10."""
    names = set(classes)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
