"""One builder at a time for each key, across processes and threads.

POSIX record locks (lockf) rather than flock: a forked data-loader worker that outlives its killed parent does not
inherit them, so it cannot hold the lock. They belong to the process, hence the lock between its threads beside them.
Where a file system has no such locks, only the threads of a process exclude each other, see `store/private.py`.
"""

import errno
import fcntl
import os
import struct
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import IO

from ablatent.core.disk import FULL
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.progress import console, seconds, warn_once

HELD = (errno.EAGAIN, errno.EACCES)
"""How lockf says that another process has the lock."""
_threads: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


def _thread_lock(path: Path) -> threading.Lock:
    """The lock between the threads of this process, whichever way the file is named: to close any descriptor of it ends
    the lock that the process holds."""
    return _threads[path.absolute()]


class Busy(AblatentError):
    """A lock that another process holds, and for which nobody wants to wait."""


@contextmanager
def locked(path: Path, title: str, poll: float = 0.1, message_every: float = 30.0, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` for a block.

    wait: false: raise Busy where another process holds it. While another process holds it, try every `poll` seconds,
    and print a message with `title` after two seconds, then every `message_every` seconds. Raises ConfigError where the
    file belongs to another user, who alone may write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _thread_lock(path):
        if not locks_work(path.parent):
            yield
            return
        with _opened(path) as f:
            start, last_message = time.monotonic(), -message_every + 2.0
            while not _taken(f):
                if not wait:
                    raise Busy(f"{title}: another process builds it")
                waited = time.monotonic() - start
                if waited - last_message >= message_every:
                    last_message = waited
                    f.seek(0)
                    console.print(f"  {title}: waiting for process {f.read().strip() or '?'} ({seconds(waited)})")
                time.sleep(poll)
            f.seek(0)
            f.truncate()
            f.write(str(os.getpid()))
            f.flush()
            try:
                yield
            finally:
                fcntl.lockf(f, fcntl.LOCK_UN)


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` for a block if nobody else does; gives whether it is held. Waits for nothing, and works
    on a full disk as far as the file is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _thread_lock(path)
    if not lock.acquire(blocking=False):
        yield False
        return
    try:
        if not locks_work(path.parent):
            yield True
            return
        with _opened_or_none(path) as f:
            held = f is not None and _taken(f)
            try:
                yield held
            finally:
                if f is not None and held:
                    fcntl.lockf(f, fcntl.LOCK_UN)
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file `path` now. Writes nothing, and needs no permission to write."""
    if _thread_lock(path).locked():
        return True
    try:
        with path.open() as f:
            fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in HELD
    return False


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+", errors="replace")
    except PermissionError:
        do = "Its owner gives the store to the group: chmod -R g+rwX STORE, then chmod g+s on its folders."
        raise ConfigError("store.path", "a store whose files this user may write", str(path), do) from None


def _opened_or_none(path: Path) -> AbstractContextManager[IO[str] | None]:
    """As `_opened`; nothing where the disk has no room for a new file."""
    try:
        return _opened(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return nullcontext()


def _taken(file: IO[str]) -> bool:
    """Whether the lock could be taken now. Raises OSError where locks have ceased to work."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


def locks_work(folder: Path) -> bool:
    """Whether a file that is locked in a folder, which is there, is refused to others; tried once per process.

    Prints a warning where it is not; takes it for granted where the disk is full. Raises OSError where no file can be
    written otherwise.
    """
    try:
        works = _probed(folder.absolute())
    except OSError as error:
        if error.errno not in FULL:
            raise
        works = True
    if not works:
        effect = "two commands may build the same stage at the same time, and the first that is ready is kept"
        warn_once(f"files cannot be locked in {folder.parent} (a network disk without locks?): {effect}.")
    return works


@cache
def _probed(folder: Path) -> bool:
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        with probe.open("w") as first, probe.open("r+") as second:
            return _taken(first) and _refused(second)
    except OSError:
        if not probe.exists():  # it could not be made
            raise
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _refused(file: IO[str]) -> bool:
    """Whether the lock that this process holds by another descriptor is refused to a description of its own.

    Locks of descriptions (F_OFD_SETLK) conflict with those of their own process: no other process is needed. Where
    there are none, nothing is known, and that the first lock was taken is enough.
    """
    if sys.platform != "linux":
        return True
    whole_file = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, whole_file)
    except OSError as error:
        return error.errno in (*HELD, errno.EINVAL)
    return False
