"""Arrays on disk, written piece by piece. Free of torch."""

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.core.disk import full_disk_named

IN_MEMORY = 2**26
"""Bytes of an array that is not worth a file."""


def new_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file of zeros to write into, memory-mapped. Raises DiskFull where the disk has no room for all of it.

    Its space is taken at once: a write into a mapped file that the disk has no room for would kill the process.
    """
    with full_disk_named(path):
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            if hasattr(os, "posix_fallocate"):  # macOS has none
                with path.open("r+b") as f:
                    os.posix_fallocate(f.fileno(), 0, path.stat().st_size)
        except OSError:
            path.unlink()
            raise
        return array


def large_zeros(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array of zeros to be filled: in memory where it is small, else mapped from a temporary file that has no name
    any more, so that memory does not grow with it. Raises DiskFull."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= IN_MEMORY:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryDirectory(prefix="ablatent-") as folder:
        return new_array(Path(folder) / "array.npy", dtype, shape)
