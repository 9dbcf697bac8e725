"""Files that are either whole or not there. Free of torch."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ablatent.core.disk import full_disk_named


def sha256(path: Path, size: int | None = None) -> str:
    """Hex digest of a file's bytes, or of the first `size` of them."""
    with path.open("rb") as f:
        if size is None:
            return hashlib.file_digest(f, "sha256").hexdigest()
        digest = hashlib.sha256()
        while size and (block := f.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
        return digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, lasting: bool = True) -> None:
    """Replace `path` in one step: a reader sees the old bytes or the new, never half.

    lasting: wait until the disk has it; else it may be lost where the machine fails, and takes a hundredth of the time.
    Where it cannot be written, nothing new is left. Raises DiskFull for want of space, other OSErrors as they are.
    """
    with replacing(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.part"), lasting) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: Path, part: Path, lasting: bool = True) -> Iterator[Path]:
    """Inside, `part` is written; it takes the place of `path` at the end, or is removed after an error. lasting: as for
    `write_atomic`."""
    try:
        with full_disk_named(path):
            yield part
            if lasting:
                sync(part)
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def print_into(path: Path) -> None:
    """From now on, what this process prints is added to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for output in (1, 2):
        os.dup2(file, output)
    os.close(file)


def write_json(path: Path, value: Any, lasting: bool = True) -> None:
    """As `write_atomic`; sorted keys, two spaces; NaN is refused (it is not JSON)."""
    write_atomic(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode(), lasting)


def read_json(path: Path) -> Any:
    """The value of a JSON file, in UTF-8. Raises OSError for a file that cannot be read, ValueError for another."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def newest_change(folder: Path) -> float:
    """When a folder, or anything below it, was last changed, in seconds since the epoch; 0 where it is not there."""
    newest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # it went meanwhile
            newest = max(newest, path.lstat().st_mtime)
    return newest


def folder_bytes(folder: str | Path) -> int:
    """Bytes of all files below a folder; links are followed to files, not to folders. 0 where it is not there."""
    try:
        with os.scandir(folder) as there:
            return sum(
                folder_bytes(e.path) if e.is_dir(follow_symlinks=False) else e.stat().st_size
                for e in there
                if e.is_dir(follow_symlinks=False) or e.is_file()
            )
    except FileNotFoundError:
        return 0


def read_word(path: Path, pattern: str) -> str | None:
    """The text of a small file if all of it fits a pattern, else None; without a file, too."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch(pattern, text) else None
