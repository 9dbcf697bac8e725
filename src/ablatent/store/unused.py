"""What do=gc deletes: objects that nothing refers to, records of old sweeps, and what is left over by others."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ablatent.core.errors import DataError
from ablatent.core.files import newest_change
from ablatent.core.progress import track
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import (
    PLAN,
    checkpoints_of,
    code_folder,
    lock_file,
    locks_folder,
    object_folder,
    object_folders,
    sweep_folder,
    sweeps_folder,
    trash_folder,
    work_folders,
    work_keys,
)
from ablatent.store.locks import is_held, locks_work
from ablatent.store.private import is_abandoned
from ablatent.store.records import Manifest
from ablatent.store.references import Claims, Reader, manifest_or_none
from ablatent.store.work import BLOCKS

DAY = 86400.0
OWN = "store"
"""The format in `source` of weights that are those of another object of the store, which are no import."""


@dataclass(frozen=True)
class Unused:
    """What may be deleted. objects: keys; sweeps: ids of their records; leftovers: other folders; unreadable: sweeps
    whose plan cannot be read, so that what they refer to is not known."""

    objects: list[Key]
    sweeps: list[SweepId]
    leftovers: list[Path]
    unreadable: list[SweepId]


def find_unused(store: Store, keep: int | None = None, older_than: float = 0.0) -> Unused:
    """What nothing refers to that counts, in a store of which nothing is written.

    keep: so many of the newest sweeps count, None: all; sweeps that are pinned, in work, or younger than `older_than`
    days always count, and so do pins, imported weights and objects that are younger, with all that these read.
    """
    root, limit = store.root, time.time() - older_than * DAY
    reader = Reader(partial(manifest_or_none, root))
    claims = Claims.of(root, reader)
    busy = {key for key in work_keys(root) if in_work(root, key)}
    counted = {
        sweep
        for place, (sweep, keys) in enumerate(claims.sweeps.items())
        if keep is None
        or place < keep
        or sweep in claims.pins
        or keys & busy
        or newest_change(sweep_folder(root, sweep)) > limit
    }
    used = claims.pinned | busy
    for sweep in counted:
        used |= claims.sweeps[sweep]
    objects = _objects(root, reader, used, limit)
    old = [sweep for sweep in claims.sweeps if sweep not in counted]
    leftovers = [*_leftovers(root, used, limit), *([] if busy else _copies_of_code(root, limit))]
    return Unused(objects, old, leftovers, claims.unreadable)


def in_work(root: Path, key: Key) -> bool:
    """Whether somebody builds an object: by its lock, and where there are no locks by the folders of its builds."""
    if locks_folder(root).exists() and not locks_work_for(root):
        return not all(map(is_abandoned, work_folders(root, key)))
    return is_held(lock_file(root, key))


def locks_work_for(root: Path) -> bool:
    """Whether files of a store can be locked; taken for granted where this process cannot write, and so cannot try."""
    with suppress(OSError):
        return locks_work(locks_folder(root))
    return True


def _objects(root: Path, reader: Reader, used: set[Key], limit: float) -> list[Key]:
    """The keys of all objects but those that are used, young or imported, and what these read."""
    idle: list[Key] = []
    roots: list[Key] = []
    total = sum(1 for _ in object_folders(root))
    with track("objects", total, "objects") as bar:
        for folder in object_folders(root):
            bar.advance()
            with suppress(DataError):  # no object
                key = Key(folder.name)
                if key not in used and key.kind == folder.parent.name:
                    counts = folder.stat().st_mtime > limit or _is_imported(manifest_or_none(root, key))
                    (roots if counts else idle).append(key)
    counted = reader.reached(roots)
    return [key for key in idle if key not in counted]


def _is_imported(about: Manifest | None) -> bool:
    """Whether an object holds weights of another program, which nothing here can make again."""
    return about is not None and bool(about.source) and about.source.get("format") != OWN


def _copies_of_code(root: Path, limit: float) -> Iterator[Path]:
    """Copies of the code that no sweep has begun to use for long: nobody builds anything, so no worker needs them."""
    yield from (copy for copy in sorted(code_folder(root).glob("*")) if copy.stat().st_mtime <= limit)


def _leftovers(root: Path, used: set[Key], limit: float) -> Iterator[Path]:
    """Folders that are no objects and of no use: what was set aside, received in part, or left by builds and commands
    that were killed; of a build of a used object only where nothing can go on from it."""
    yield from sorted(trash_folder(root).glob("*"))
    # a rename leaves the times of files as they are
    yield from (path for path in sorted((root / "damaged").glob("*")) if path.lstat().st_ctime <= limit)
    for key in work_keys(root):
        for folder in [] if in_work(root, key) else work_folders(root, key):
            resumed = checkpoints_of(folder) or (folder / BLOCKS).exists()
            wanted = key in used and resumed and not object_folder(root, key).exists()
            if not wanted and newest_change(folder) <= limit:
                yield folder
    unplanned = (path for path in sweeps_folder(root).glob("*/") if not (path / PLAN).exists())
    for folder in sorted([*(root / "incoming").glob("*/"), *(root / "cache").glob("*"), *unplanned]):
        if newest_change(folder) <= limit:
            yield folder
