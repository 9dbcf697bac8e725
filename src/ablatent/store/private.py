"""Builds where files cannot be locked: each in a folder of its own, of which the first that is ready is published.

work/KEY.HOST-PID-xxxx belongs to one process, which touches a file in it every minute. What a dead one left is taken
over by one rename, of which one process at a time succeeds.
"""

import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ablatent.core.files import newest_change
from ablatent.store.identity import Key
from ablatent.store.layout import lock_file, private_work_folder, work_folder, work_folders
from ablatent.store.locks import locks_work

ALIVE, BEAT, STALE = "alive", 60.0, 600.0
"""The file that a builder touches, how often, and after how long without any change it counts as dead; in seconds."""


@contextmanager
def workplace(root: Path, key: Key) -> Iterator[Path]:
    """The folder for a build, which may have to be made: where locks work that of the key, whose lock is held, else one
    of this process alone."""
    if locks_work(lock_file(root, key).parent):
        yield work_folder(root, key)
        return
    folder = _taken_over(root, key)
    ended = threading.Event()
    threading.Thread(target=_beat, args=(folder, ended), daemon=True).start()
    try:
        yield folder
    finally:
        ended.set()


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname()) or "unknown"


def _taken_over(root: Path, key: Key) -> Path:
    """A folder of this process: the newest that nobody works in under a new name, else one that is not there yet."""
    mine = private_work_folder(root, key, f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:4]}")
    left = sorted(filter(is_abandoned, work_folders(root, key)), key=newest_change, reverse=True)
    for folder in left:
        with suppress(OSError):  # another process was first
            (folder / ALIVE).touch()  # before the rename, so that no other takes it over at once
            folder.rename(mine)
            return mine
    return mine


def _beat(folder: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):  # published, or taken over
            (folder / ALIVE).touch()


def is_abandoned(folder: Path) -> bool:
    """Whether nobody works in the folder of a build whose key's lock is held by this process, or cannot be held.

    Its owner is this process itself, or one of this host that has ended; or nothing in it has changed for `STALE`
    seconds.
    """
    owner = re.fullmatch(r"[^.]+\.(.+)-(\d+)-[0-9a-f]+", folder.name)
    if owner is not None and owner[1] == _host() and (int(owner[2]) == os.getpid() or not _runs(int(owner[2]))):
        return True
    return time.time() - newest_change(folder) > STALE


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # that of another user
        pass
    return True
