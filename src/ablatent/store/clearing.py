"""Deleting what is unused, so that a crash at any moment leaves whole objects or none."""

import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.table import Table

from ablatent.core.disk import FULL
from ablatent.core.errors import DataError
from ablatent.core.escape import for_console
from ablatent.core.files import folder_bytes
from ablatent.core.progress import console, counted, track
from ablatent.store.identity import Key
from ablatent.store.layout import (
    PLAN,
    built_in,
    is_work_folder,
    lock_file,
    locks_folder,
    object_folder,
    sweep_folder,
    sweeps_folder,
    trash_folder,
)
from ablatent.store.locks import locks_work, tried
from ablatent.store.private import is_abandoned
from ablatent.store.unused import Unused
from ablatent.store.verify import MANIFEST

SHOWN = 100
"""Keys of one kind that are listed."""


def unused_table(root: Path, unused: Unused) -> Table:
    """What would be deleted: number, bytes and keys by kind, then records and leftovers by folder."""
    rows: defaultdict[str, list[Path]] = defaultdict(list)
    for key in unused.objects:
        rows[key.kind].append(object_folder(root, key))
    for folder in [*(sweep_folder(root, sweep) for sweep in unused.sweeps), *unused.leftovers]:
        rows[f"{folder.parent.name}/"].append(folder)
    table = Table("kind", "number", "bytes", "which", title=for_console(f"unused in {root}"), title_justify="left")
    total = 0
    for kind, folders in rows.items():
        size = sum(map(_bytes, folders))
        names = [folder.name for folder in folders[:SHOWN]] + ["…"] * (len(folders) > SHOWN)
        table.add_row(for_console(kind), str(len(folders)), f"{size:,}", for_console(" ".join(names)))
        total += size
    table.add_section()
    table.add_row("all", str(sum(map(len, rows.values()))), f"{total:,}", "")
    return table


def clear(root: Path, unused: Unused, now_unused: Callable[[], Unused]) -> int:
    """Delete what is unused, objects before the records that name them; how many could not be deleted.

    What somebody builds or reads under its lock is left, without waiting. now_unused: looks again, after a sweep was
    begun meanwhile. Raises DataError where the plan of a sweep cannot be read.
    """
    failed = freed = 0
    if unused.unreadable:
        folder = sweep_folder(root, unused.unreadable[0])
        do = "Put it back, or remove this folder: what it refers to is then deleted where nothing else does."
        raise DataError(f"{folder}: expected a {PLAN} that can be read, which says what the sweep refers to. {do}")
    begun = _sweeps_changed(root)
    objects = set(unused.objects)
    with track("delete", len(unused.objects), "objects") as bar:
        for key in unused.objects:
            bar.advance()
            if begun != (begun := _sweeps_changed(root)):
                objects &= set(now_unused().objects)
            if key in objects:
                size = _delete_object(root, key)
                failed, freed = failed + (size is None), freed + (size or 0)
    for folder in [*(sweep_folder(root, sweep) for sweep in unused.sweeps), *unused.leftovers]:
        size = _delete_leftover(root, folder)
        failed, freed = failed + (size is None), freed + (size or 0)
    with suppress(OSError):
        trash_folder(root).rmdir()
    console.print(f"{freed:,} bytes are free again")
    if failed:
        console.print(f"[yellow]{counted(failed, 'folder')} left[/]: in use, or not to be deleted by this user")
    return failed


def _sweeps_changed(root: Path) -> int:
    """When a sweep was begun or removed last, in ns."""
    with suppress(OSError):
        return sweeps_folder(root).stat().st_mtime_ns
    return 0


def _delete_object(root: Path, key: Key) -> int | None:
    """The bytes of an object that is deleted; None where somebody has its lock, or it may not be deleted."""
    with tried(lock_file(root, key)) as held:
        return _delete(root, object_folder(root, key)) if held else None


def _delete_leftover(root: Path, folder: Path) -> int | None:
    """As `_delete_object`, of any other folder; that of a build under the lock of its key."""
    if not is_work_folder(root, folder):
        return _delete(root, folder)
    with tried(lock_file(root, Key(built_in(folder)))) as held:
        free = held and (locks_work(locks_folder(root)) or is_abandoned(folder))
        return _delete(root, folder) if free else None


def _delete(root: Path, path: Path) -> int | None:
    """The bytes of what is moved into the trash by one rename, and removed there; None where that fails."""
    size = _bytes(path)
    try:
        aside = _in_trash(root, path)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except FileNotFoundError:  # another command deletes it, too
        pass
    except OSError as error:
        console.print(f"  [yellow]not deleted[/]: {for_console(error)}")
        return None
    return size


def _in_trash(root: Path, folder: Path) -> Path:
    """Where a folder lies in the trash, after it was moved there.

    Where the disk has no room for another name, it stays where it is, without the manifest that makes it an object.
    """
    aside = trash_folder(root) / f"{folder.name}-{uuid.uuid4().hex[:8]}"
    if folder.parent == aside.parent:
        return folder
    try:
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
    except OSError as error:
        if error.errno not in FULL:
            raise
        (folder / MANIFEST).unlink(missing_ok=True)
        return folder
    return aside


def _bytes(folder: Path) -> int:
    return folder_bytes(folder) if folder.is_dir() else os.lstat(folder).st_size
