"""Which machine and process this is, and whether another one lives. Free of torch."""

import os
import platform
import shutil
import sys
import threading
import time
from functools import cache
from pathlib import Path

PLACE = "ABLATENT_PLACE"
"""Environment variable with the name of this machine for people, where an engine knows a better one."""

PROGRAM = "ABLATENT_PROGRAM"
"""Environment variable with the words by which the command line was called; it sets it."""

WATCH_SECONDS = 0.5


@cache
def host() -> str:
    """The name of this machine."""
    return platform.node() or "localhost"


def place() -> str:
    """This machine and process, for people: ``node3:4711``."""
    return f"{os.environ.get(PLACE) or host()}:{os.getpid()}"


def program() -> str:
    """The words by which the command line is called, for commands in messages and reports."""
    return os.environ.get(PROGRAM, "python run.py")


def search_path() -> str:
    """The PYTHONPATH of processes that are to find the classes of users where this one does."""
    return os.pathsep.join(os.path.abspath(p) for p in sys.path if p)  # noqa: PTH100  # pathlib is not needed for more


def follow(parent: int, leave: Path | None = None) -> None:
    """End this process soon after its parent process is gone. parent: its id; leave: a folder that is removed then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        if leave is not None:
            shutil.rmtree(leave, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_process(place: str) -> bool:
    """End a process of this package at a `place` at once; false where it is on another machine, another user's, or no
    such process any more."""
    import psutil

    where, _, number = place.rpartition(":")
    try:
        process = psutil.Process(int(number))
        if where != host() or not any("ablatent" in word or "run.py" in word for word in process.cmdline()):
            return False
        process.kill()
    except (psutil.Error, ValueError):
        return False
    return True


def lives(pid: int, since: float) -> bool:
    """Whether a process of this machine is there, and is not another one of that number. since: when it was there, in
    seconds since 1970."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True
