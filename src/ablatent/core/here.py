"""Which machine and process this is, and whether another one lives. Free of torch."""

import os
import platform
import sys
from functools import cache


@cache
def host() -> str:
    """The name of this machine."""
    return platform.node() or "localhost"


def place() -> str:
    """This machine and process, for people: ``node3:4711``."""
    return f"{host()}:{os.getpid()}"


def search_path() -> str:
    """The PYTHONPATH of processes that are to find the classes of users where this one does."""
    return os.pathsep.join(os.path.abspath(p) for p in sys.path if p)  # noqa: PTH100  # pathlib is not needed for more


def lives(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
