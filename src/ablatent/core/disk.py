"""A disk that is full: which one, what is safe, and what to do about it. Free of torch."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablatent.core.errors import AblatentError

FULL = (errno.ENOSPC, errno.EDQUOT)
# What writers say that hide the number: safetensors, numpy's tofile.
TEXTS = re.compile(r"No space left on device|quota exceeded|\d+ requested and \d+ written", re.IGNORECASE)
SAFE = "What was published before is whole, and so are checkpoints."


class DiskFull(AblatentError):
    """A file, `place`, that was not written for want of space; nothing of it is left. safe: what is not lost."""

    def __init__(self, place: Path, safe: str):
        self.place = place
        do = "Make room there, and give the same command again: it goes on from what is safe."
        super().__init__(f"{place}: expected room to write; the disk is full ({_left(place)}). {safe} {do}")


@contextmanager
def full_disk_named(place: Path, safe: str | None = None) -> Iterator[None]:
    """Inside, any error for want of space becomes a DiskFull that names the disk, what is safe, and what to do.

    place: the file or folder that is written; safe: what is not lost, None for the store as it was.
    """
    try:
        yield
    except DiskFull as error:
        if safe is None:
            raise
        raise DiskFull(error.place, safe) from error
    except Exception as error:
        if not _for_want_of_space(error):
            raise
        raise DiskFull(place, safe or SAFE) from error


def _for_want_of_space(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that no space is left."""
    seen: list[BaseException] = []  # an error that is raised again can come from one that came from it
    while error is not None and error not in seen:
        if (isinstance(error, OSError) and error.errno in FULL) or TEXTS.search(str(error)):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _left(place: Path) -> str:
    """The space left on the disk of a path that may not be there."""
    there = next(p for p in [place.absolute(), *place.absolute().parents] if p.exists())
    usage = shutil.disk_usage(there)
    return f"{usage.free / 2**20:,.1f} of {usage.total / 2**20:,.0f} MiB are left"
