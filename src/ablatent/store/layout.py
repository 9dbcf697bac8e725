"""Where everything lies in a store. Keys and ids become paths here alone, and nowhere without their type."""

import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ablatent.core.errors import DataError
from ablatent.core.files import newest_change
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


def is_work_folder(root: Path, folder: Path) -> bool:
    """Whether a folder is one of a build."""
    return folder.parent == root / "work"


def private_work_folder(root: Path, key: Key, owner: str) -> Path:
    """The folder of a build of one process, where files cannot be locked. owner: HOST-PID-xxxx."""
    return root / "work" / f"{key}.{owner}"


def work_folders(root: Path, key: Key) -> list[Path]:
    """The folders of all builds of a key that are there, private ones too."""
    there = [work_folder(root, key), *sorted((root / "work").glob(f"{key}.*"))]
    return [folder for folder in there if folder.is_dir()]


def newest_work_folder(root: Path, key: Key) -> Path:
    """Of the folders of all builds of a key the one that changed last; where none is there, that of the key."""
    return max(work_folders(root, key), key=newest_change, default=work_folder(root, key))


def built_in(folder: Path) -> str:
    """What is built in the folder of a build, private or not: the text of its key."""
    return folder.name.partition(".")[0]


def work_keys(root: Path) -> list[Key]:
    """The keys of all builds in progress, in order."""
    return _names(Key, {folder.with_name(built_in(folder)) for folder in (root / "work").glob("*/")})


def checkpoints_of(work: Path) -> list[Path]:
    """The checkpoints in the folder of a build that are there, the newest first."""
    return [work / name for name in CHECKPOINTS if (work / name).exists()]


def incoming_folder(root: Path, key: Key) -> Path:
    """The folder where an object from another store is received, whether it is there or not."""
    return root / "incoming" / key


def pins_folder(root: Path) -> Path:
    """The folder with an empty file for each pin, whether it is there or not."""
    return root / "pins"


def incoming_lock(root: Path, key: Key) -> Path:
    """The file that whoever receives this object from another store locks."""
    return locks_folder(root) / f"incoming-{key}"


def trash_folder(root: Path) -> Path:
    """The folder of what is being deleted, whether it is there or not."""
    return root / "trash"


def locks_folder(root: Path) -> Path:
    """The folder of all lock files, whether it is there or not."""
    return root / "locks"


def lock_file(root: Path, key: Key) -> Path:
    """The file that a builder of this key locks."""
    return locks_folder(root) / key


def sweeps_folder(root: Path) -> Path:
    """The folder of the records of all sweeps, whether it is there or not."""
    return root / "sweeps"


def code_folder(root: Path) -> Path:
    """The folder of the copies of the code that workers run."""
    return root / "code"


def sweep_folder(root: Path, sweep: SweepId) -> Path:
    """The folder of a sweep, whether it is there or not."""
    return sweeps_folder(root) / sweep


def sweep_ids(root: Path) -> list[SweepId]:
    """The ids of all sweeps, the newest first."""
    plans = sweeps_folder(root).glob(f"*/{PLAN}")
    return list(reversed(_names(SweepId, (plan.parent for plan in plans))))


def comparison_folder(root: Path, first: SweepId, second: SweepId) -> Path:
    """The folder of the comparison of two sweeps, whether it is there or not."""
    return root / "comparisons" / f"{first}-{second}"


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
