"""Rows out of a shared table, without holding a copy a row: captions repeat, and token states are large."""

from typing import Any

import numpy as np


class RowLookup:
    """Row i is values[index[i]], read on access, as float32. `[rows]` and `np.asarray` give arrays.

    values: (u, …), may be memory-mapped; index: (n,) rows of it.
    """

    def __init__(self, values: np.ndarray, index: np.ndarray) -> None:
        self.values, self.index = values, np.asarray(index, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self.values[self.index[rows]], dtype=np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)
