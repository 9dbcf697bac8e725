"""One builder at a time for each key, across processes and threads.

POSIX record locks (lockf) rather than flock: a forked data-loader worker that outlives its killed parent does not
inherit them, so it cannot hold the lock. They belong to the process, hence the lock between its threads beside them.
"""

import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ablatent.core.errors import AblatentError
from ablatent.core.progress import console, seconds

_threads: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Busy(AblatentError):
    """A lock that another process holds, and for which nobody wants to wait."""


@contextmanager
def locked(path: Path, title: str, poll: float = 0.1, message_every: float = 30.0, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` for a block.

    wait: false: raise Busy where another process holds it. While another process holds it, try every `poll` seconds,
    and print a message with `title` after two seconds, then every `message_every` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _threads[str(path)], path.open("a+", errors="replace") as f:
        start, last_message = time.monotonic(), -message_every + 2.0
        while True:
            try:
                fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not wait:
                    raise Busy(f"{title}: process {f.read().strip() or '?'} builds it") from None
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


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock file. A process that holds it itself would lose it by this call."""
    if not path.exists():
        return False
    with suppress(OSError), path.open("a+") as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(f, fcntl.LOCK_UN)
        except OSError:
            return True
    return False
