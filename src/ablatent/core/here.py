"""Which machine and process this is, and whether another one lives. Free of torch."""

import os
import platform
from functools import cache


@cache
def host() -> str:
    """The name of this machine."""
    return platform.node() or "localhost"


def place() -> str:
    """This machine and process, for people: ``node3:4711``."""
    return f"{host()}:{os.getpid()}"


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
