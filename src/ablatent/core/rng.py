"""Counter-based random streams (Philox): a number depends on (seed, purpose, index) and on nothing else.

So noise is bit-equal for any batch size, device count or order of work, and a resumed training sees what an
uninterrupted one would have seen. Drawn on the CPU by numpy (torch's CPU generator ignores seed bits above 32).
Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt64
from numpy.random.bit_generator import ISeedSequence


class _Key(ISeedSequence):
    """The key of a Philox, handed over as a seed: Philox(key=…) asks the system for entropy that it does not use."""

    def __init__(self, key: UInt64[np.ndarray, " 2"]):
        self.key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> UInt64[np.ndarray, " 2"]:
        """What Philox asks for: its key."""
        return self.key


def _key_of(text: str) -> UInt64[np.ndarray, " 2"]:
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype="<u8")


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """An independent generator for each (seed, purpose, index …)."""
    key = _key_of(f"{int(seed)}/{purpose}/{'/'.join(str(int(i)) for i in index)}")
    return np.random.Generator(np.random.Philox(_Key(key)))  # type: ignore[arg-type]  # the stubs know no ISeedSequence


def normal(seed: int, purpose: str, indices: Sequence[int], shape: Sequence[int], step: int = 0) -> np.ndarray:
    """N(0, 1) noise (len(indices), *shape), float32; row k depends on (seed, purpose, indices[k], step) only: it is
    what `stream(seed, purpose, indices[k], step)` draws first."""
    out = np.empty((len(indices), *shape), dtype=np.float32)
    philox = np.random.Philox(0)
    generator, start = np.random.Generator(philox), philox.state
    for row, index in zip(out, indices, strict=True):
        # One generator that is set back to the start of each row's stream: making one takes longer than a small row.
        start["state"]["key"] = _key_of(f"{int(seed)}/{purpose}/{int(index)}/{int(step)}")
        philox.state = start
        generator.standard_normal(out=row, dtype=np.float32)
    return out
