"""Captions of an image folder: a .jsonl or .csv file, or a .txt beside each image. Free of torch."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ablatent.core.errors import ConfigError, DataError, did_you_mean

BESIDE = "txt"
KEYS = ("file", "caption")


def caption_file(root: Path, captions: str) -> Path | None:
    """The file that `captions` names, relative to root; None for ``txt``. Raises ConfigError when it is not there."""
    if captions == BESIDE:
        return None
    path = root / Path(captions).expanduser()
    if path.suffix not in (".jsonl", ".csv"):
        raise ConfigError("data.captions", f"null, '{BESIDE}', or a .jsonl or .csv file", captions)
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise ConfigError(
            "data.captions", f"an existing file; looked for {path}", captions, did_you_mean(path.name, near)
        )
    return path


def read_captions(root: Path, captions: str, ids: Sequence[str]) -> list[str]:
    """One caption for each image id (its path below root).

    Raises DataError for a missing one, a malformed line, a line whose image is not there or has another one.
    """
    path = caption_file(root, captions)
    if path is None:
        files = {i: (root / i).with_suffix(".txt") for i in ids}
        found = {i: _text(file).strip() for i, file in files.items() if file.is_file()}
    else:
        found = _found(root, path, set(ids))
    missing = [i for i in ids if not found.get(i)]
    if missing:
        where = "a .txt beside each image" if path is None else str(path)
        raise DataError(
            f"data.captions: expected a caption for each of {len(ids)} images in {where}; {len(missing)} have none, "
            f"the first is {missing[0]}. Do: give paths relative to {root}, or set data.captions=null"
        )
    return [found[i] for i in ids]


def _found(root: Path, path: Path, ids: set[str]) -> dict[str, str]:
    """file → caption. ids: images that are there; the file may caption others that are."""
    found: dict[str, str] = {}
    for number, file, caption in _lines(path):
        if file in found:
            raise DataError(f"{path}, line {number}: expected one caption for each image; {file} has one above.")
        if file not in ids and not (root / file).is_file():
            near = did_you_mean(file, ids)
            raise DataError(
                f"{path}, line {number}: expected an image below {root}; {file!r} is not there. {near}".strip()
            )
        found[file] = caption
    return found


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """(number, file, caption) of each line."""
    expected = f"{path}: expected the keys {' and '.join(KEYS)}"
    with io.StringIO(_text(path), newline="") as f:
        if path.suffix == ".csv":
            reader = csv.DictReader(f)
            if not set(KEYS) <= set(reader.fieldnames or ()):
                raise DataError(f"{expected} in the first line; got {reader.fieldnames}")
            rows = ((reader.line_num, row) for row in reader)
        else:
            rows = ((n, _parse(path, n, line)) for n, line in enumerate(f, 1) if line.strip())
        for number, row in rows:
            values = [row.get(k) for k in KEYS]
            if not all(isinstance(v, str) for v in values):
                raise DataError(f"{expected} with text in line {number}; got {row}")
            yield number, Path(str(values[0]).strip()).as_posix(), str(values[1]).strip()


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
