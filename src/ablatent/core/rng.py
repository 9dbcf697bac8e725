"""Counter-based random streams (Philox): a number depends on (seed, purpose, index) and on nothing else.

So noise is bit-equal for any batch size, device count or order of work, and a resumed training sees what an
uninterrupted one would have seen. Drawn on the CPU by numpy (torch's CPU generator ignores seed bits above 32).
Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """An independent generator for each (seed, purpose, index …)."""
    text = f"{int(seed)}/{purpose}/{'/'.join(str(int(i)) for i in index)}"
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def normal(seed: int, purpose: str, indices: Sequence[int], shape: Sequence[int], step: int = 0) -> np.ndarray:
    """N(0, 1) noise (len(indices), *shape), float32; row k depends on (seed, purpose, indices[k], step) only."""
    out = np.empty((len(indices), *shape), dtype=np.float32)
    for row, index in zip(out, indices, strict=True):
        row[...] = stream(seed, purpose, index, step).standard_normal(tuple(shape), dtype=np.float32)
    return out
