"""Where everything lies in a store. Keys and ids become paths here alone, and nowhere without their type."""

import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ablatent.core.errors import DataError
from ablatent.store.identity import Key, Name, SearchName, SweepId

N = TypeVar("N", bound=Name)
PLAN = "plan.json"
CHECKPOINTS = ("last.ckpt", "previous.ckpt")


def object_folder(root: Path, key: Key) -> Path:
    """The folder of a published object, whether it is there or not."""
    return root / "objects" / key.kind / key


def object_keys(root: Path, kind: str) -> list[Key]:
    """The keys of all objects of a kind of the code's own, in order; folders of other names are no objects."""
    return [key for key in _names(Key, (root / "objects" / kind).glob("*")) if key.kind == kind]


def newest_keys(root: Path, kind: str, count: int) -> list[Key]:
    """The keys of the objects of a kind that were published last, at most `count` of them, the newest first."""
    with suppress(FileNotFoundError), os.scandir(root / "objects" / kind) as there:
        newest = heapq.nlargest(count, there, key=lambda entry: entry.stat().st_mtime_ns)
        return [key for entry in newest for key in _names(Key, [Path(entry.path)]) if key.kind == kind]
    return []


def object_folders(root: Path) -> Iterator[Path]:
    """All folders where objects are expected, by kind and key; a store may hold more of them than should be in memory
    as paths."""
    for kind in sorted(path for path in (root / "objects").glob("*") if path.is_dir()):
        with os.scandir(kind) as there:
            names = sorted(entry.name for entry in there if entry.is_dir())
        for name in names:
            yield kind / name


def work_folder(root: Path, key: Key) -> Path:
    """The folder of a build in progress, whether it is there or not."""
    return root / "work" / key


def work_keys(root: Path) -> list[Key]:
    """The keys of all builds in progress, in order."""
    return _names(Key, (root / "work").glob("*/"))


def checkpoints_of(work: Path) -> list[Path]:
    """The checkpoints in the folder of a build that are there, the newest first."""
    return [work / name for name in CHECKPOINTS if (work / name).exists()]


def lock_file(root: Path, key: Key) -> Path:
    """The file that a builder of this key locks."""
    return root / "locks" / key


def sweep_folder(root: Path, sweep: SweepId) -> Path:
    """The folder of a sweep, whether it is there or not."""
    return root / "sweeps" / sweep


def sweep_ids(root: Path) -> list[SweepId]:
    """The ids of all sweeps, the newest first."""
    plans = (root / "sweeps").glob(f"*/{PLAN}")
    return list(reversed(_names(SweepId, (plan.parent for plan in plans))))


def search_folder(root: Path, search: SearchName) -> Path:
    """The folder of a search, whether it is there or not."""
    return root / "searches" / search


def _names(kind: type[N], paths: Iterable[Path]) -> list[N]:
    """The names of these paths that are of a kind, in order."""
    found = []
    for path in sorted(paths):
        with suppress(DataError):
            found.append(kind(path.name))
    return found
