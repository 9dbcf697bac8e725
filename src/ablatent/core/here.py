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


def lives(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
