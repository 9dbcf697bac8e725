"""How the C library keeps memory."""

import ctypes
import platform

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 2**30


def keep_freed_memory() -> None:
    """Let the C library keep the memory of tensors that are freed (each up to 1 GiB) for the next ones.

    By default it returns large blocks to the system and asks for them again, and the system clears every page of them
    (docs/performance.md). Blocks that are free stay with the process. Only for glibc; does nothing elsewhere.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT)
