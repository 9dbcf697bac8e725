"""Digests of many files, each read once: remembered by size, time of change and inode. Free of torch."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ablatent.core.disk import DiskFull
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import read_json, write_json
from ablatent.core.progress import track

# Clocks of file systems are coarse: a file that changed this shortly before it was read may change again unseen.
CLOCK_MARGIN_NS = 2_000_000_000

Identity = list[int]
"""Size, time of change in ns and inode of a file: it is taken for the same while these are."""


def file_digests(
    root: Path,
    names: Sequence[str],
    cache: str | None,
    purpose: str = "",
    digest: Callable[[Path], str] | None = None,
) -> list[str]:
    """blake2b-32 of each file below root, in order.

    cache: folder for remembered digests, or None to read every file; digest: another function of a file than that over
    all its bytes, whose results are remembered under the name `purpose`.

    Raises DataError for a file that cannot be read, ConfigError (data.cache) for a cache that cannot be written.
    """
    digest = digest or _digest
    cached = recall(cache, root, purpose)
    stats = {name: identity(root / name) for name in names}
    start = time.time_ns()
    todo = [n for n in names if n not in cached or cached[n][:-1] != stats[n]]
    fresh = {}
    with track("hashing images", len(todo), "files") as bar:
        for name in todo:
            fresh[name] = digest(root / name)
            bar.advance()
    remember(cache, root, purpose, {n: [*stats[n], d] for n, d in fresh.items() if settled(stats[n], start)})
    return [fresh[n] if n in fresh else cached[n][-1] for n in names]


def identity(path: Path) -> Identity:
    """The identity of a file, through links. Raises DataError for one that is not there."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def settled(of: Identity, start: int) -> bool:
    """Whether a file that was read from `start` on (ns since 1970) cannot change again without another identity."""
    return of[1] < start - CLOCK_MARGIN_NS


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _file(cache: str, root: Path, purpose: str) -> Path:
    text = os.fsencode(root.resolve()) + (f"\n{purpose}".encode() if purpose else b"")
    key = hashlib.blake2b(text, digest_size=16).hexdigest()
    return Path(cache).expanduser() / "file_digests" / f"{key}.json"


def recall(cache: str | None, root: Path, purpose: str) -> dict[str, list]:
    """Name → identity and record of the files below root, as `remember` wrote them; empty without a cache, or for one
    that is damaged."""
    if cache is None:
        return {}
    try:
        found = read_json(_file(cache, root, purpose))
        return {name: [int(size), int(time), int(inode), about] for name, (size, time, inode, about) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged: the files are read again
        return {}


def remember(cache: str | None, root: Path, purpose: str, records: Mapping[str, list]) -> None:
    """Add records to those of these files and this purpose. Raises ConfigError (data.cache) where it cannot."""
    if cache is None or not records:
        return
    path = _file(cache, root, purpose)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**recall(cache, root, purpose), **records})
    except (OSError, DiskFull) as error:
        raise ConfigError(
            "data.cache", f"a folder that can be written; {error}", cache, "Do: data.cache=null"
        ) from error
