"""Captions of an image folder: tables (.jsonl, .csv), or a file beside each image. Free of torch."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.data.files import cached_per_file
from ablatent.data.listing import Names, existing, folded, shortlist

BESIDE = ("txt", "caption")
NO_CAPTION = "without a caption"
FILES, CAPTIONS = ("file", "file_name"), ("caption", "text")
"""Columns, or keys, of tables: our own names, and those of the folders that Hugging Face's datasets reads."""


@dataclass(frozen=True)
class Table:
    """The captions of one table. lines: name of the file as it stands there → (line, caption), in order."""

    path: Path
    lines: Mapping[str, tuple[int, str]]

    def names(self, name: str, root: Path) -> list[str]:
        """The paths below root that a name may mean: from the folder of the table, or from root."""
        folder = self.path.parent.relative_to(root).as_posix() if self.path.is_relative_to(root) else "."
        return [name] if folder == "." else [f"{folder}/{name}", name]


def caption_files(root: Path, captions: str, folders: Sequence[str] = ()) -> list[Path]:
    """The tables that `captions` names, relative to root, else in each of the given folders below root that has one.

    Empty for files beside the images. Raises ConfigError where there is none.
    """
    if captions in BESIDE:
        return []
    path = root / Path(captions).expanduser()
    if path.suffix not in (".jsonl", ".csv"):
        raise ConfigError("data.captions", f"null, {' or '.join(BESIDE)}, or a .jsonl or .csv file", captions)
    found = [path] if path.is_file() else [root / f / captions for f in folders if (root / f / captions).is_file()]
    if not found:
        near = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise ConfigError(
            "data.captions", f"an existing file; looked for {path}", captions, did_you_mean(path.name, near)
        )
    return found


def read_captions(root: Path, captions: str, ids: Sequence[str], folders: Sequence[str] = ()) -> list[str]:
    """One caption for each image id; see `found_captions`. Raises DataError for images without any."""
    found = found_captions(root, captions, ids, folders)
    if missing := [i for i in ids if i not in found]:
        raise without_caption(root, captions, missing, len(ids))
    return [found[i] for i in ids]


def found_captions(root: Path, captions: str, ids: Sequence[str], folders: Sequence[str] = ()) -> dict[str, str]:
    """Image id (its path below root) → caption, of those that have one; see `caption_files`.

    Accents may be written in another way in a table than on the disk. Raises DataError for malformed tables.
    """
    if captions in BESIDE:
        beside = {i: existing(root, Path(i).with_suffix(f".{captions}").as_posix()) for i in ids}
        texts = {i: _text(root / file).strip() for i, file in beside.items() if file is not None}
    else:
        found: dict[str, str] = {}
        for table in (_table(path) for path in caption_files(root, captions, folders)):
            for name, (_, caption) in table.lines.items():
                for meant in reversed(table.names(name, root)):
                    found[folded(meant)] = caption
        texts = {i: found[folded(i)] for i in ids if folded(i) in found}
    return {i: text for i, text in texts.items() if text}


def without_image(root: Path, captions: str, there: Names, folders: Sequence[str] = ()) -> list[str]:
    """The lines of tables that name no file, as 'TABLE, line 3 (NAME)'. there: the names of all files below root."""
    lines = []
    for table in (_table(path) for path in caption_files(root, captions, folders)):
        for name, (number, _) in table.lines.items():
            if all(there.find(meant) is None for meant in table.names(name, root)):
                lines.append(f"{table.path.name}, line {number} ({name})")
    return lines


def without_caption(root: Path, captions: str, missing: Sequence[str], total: int) -> DataError:
    """The error for images without a caption: how many of the total, and the first ten."""
    where = f"a .{captions} beside each image" if captions in BESIDE else captions
    return DataError(
        f"data.captions: expected a caption for each of {total} images in {where}; {len(missing)} have none: "
        f"{shortlist(missing)}. Do: give paths relative to {root}, leave these images out by data.on_missing=skip, or "
        "set data.captions=null"
    )


@cached_per_file
def _table(path: Path) -> Table:
    lines: dict[str, tuple[int, str]] = {}
    numbers: dict[str, int] = {}
    doubled = []
    try:
        for number, name, caption in _lines(path):
            if folded(name) in numbers:
                doubled.append(f"line {number} ({name} has one in line {numbers[folded(name)]})")
            numbers[folded(name)] = number
            lines[name] = (number, caption)
    except csv.Error as error:
        raise DataError(f"{path}: expected a table of values with commas between them; {error}") from error
    if doubled:
        raise DataError(f"{path}: expected one caption for each image; {len(doubled)} have two: {shortlist(doubled)}.")
    return Table(path, lines)


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """(number, file, caption) of each line."""
    expected = f"{path}: expected the keys {' or '.join(FILES)}, and {' or '.join(CAPTIONS)}"
    with io.StringIO(_text(path), newline="") as f:
        if path.suffix == ".csv":
            reader = csv.DictReader(f)
            names = reader.fieldnames or ()
            if not all(set(names) & set(keys) for keys in (FILES, CAPTIONS)):
                raise DataError(f"{expected}, in the first line, with commas between them; got {list(names)}")
            rows = ((reader.line_num, row) for row in reader)
        else:
            rows = ((n, _parse(path, n, line)) for n, line in enumerate(f, 1) if line.strip())
        for number, row in rows:
            name, caption = (next((row[k] for k in keys if k in row), None) for keys in (FILES, CAPTIONS))
            if not isinstance(name, str) or not isinstance(caption, str):
                raise DataError(f"{expected}, with text in line {number}; got {row}")
            yield number, Path(name.strip()).as_posix(), caption.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8; got {error}. Do: save it as UTF-8") from error


def _parse(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: expected JSON; {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object; got {type(row).__name__}")
    return row
