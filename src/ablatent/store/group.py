"""A store of several users: a group whose members read, build on and clear what any of them has built."""

import os
import stat
from pathlib import Path


def share_with_group(root: Path) -> None:
    """Let the group write what this process, and any that it starts, writes from now on, where the store's folder says
    so: by its set-group-id bit together with the group's permission to write (chmod g+ws).

    The umask decides otherwise, as everywhere. A root that is not there yet is made by the umask alone.
    """
    try:
        mode = root.stat().st_mode
    except OSError:
        return
    if mode & stat.S_ISGID and mode & stat.S_IWGRP:
        os.umask(os.umask(0o077) & ~stat.S_IRWXG)
