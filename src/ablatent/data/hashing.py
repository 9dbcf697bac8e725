"""Digests of many files, remembered by size and time of change so that each file is read once. Free of torch."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ablatent.core.disk import DiskFull
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import read_json, write_json
from ablatent.core.progress import track

# Clocks of file systems are coarse: a file that changed this shortly before it was read may change again unseen.
CLOCK_MARGIN_NS = 2_000_000_000


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
    cached = _load(cache, root, purpose)
    stats = {}
    for name in names:
        try:
            stat = (root / name).stat()
        except OSError as error:
            raise DataError(f"{root / name}: cannot be read: {error}") from error
        stats[name] = [stat.st_size, stat.st_mtime_ns]
    start = time.time_ns()
    todo = [n for n in names if n not in cached or cached[n][:2] != stats[n]]
    fresh = {}
    with track("hashing images", len(todo), "files") as bar:
        for name in todo:
            fresh[name] = digest(root / name)
            bar.advance()
    stable = {n: [*stats[n], d] for n, d in fresh.items() if stats[n][1] < start - CLOCK_MARGIN_NS}
    if cache is not None and stable:
        _save(cache, root, purpose, cached | stable)
    return [fresh[n] if n in fresh else cached[n][2] for n in names]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _file(cache: str, root: Path, purpose: str) -> Path:
    text = f"{root.resolve()}\n{purpose}" if purpose else str(root.resolve())
    key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return Path(cache).expanduser() / "file_digests" / f"{key}.json"


def _load(cache: str | None, root: Path, purpose: str) -> dict[str, list]:
    if cache is None:
        return {}
    try:
        found = read_json(_file(cache, root, purpose))
        return {name: [int(size), int(time_), str(digest)] for name, (size, time_, digest) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged: the files are read again
        return {}


def _save(cache: str, root: Path, purpose: str, digests: dict[str, list]) -> None:
    path = _file(cache, root, purpose)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, digests)
    except (OSError, DiskFull) as error:
        raise ConfigError(
            "data.cache", f"a folder that can be written; {error}", cache, "Do: data.cache=null"
        ) from error
