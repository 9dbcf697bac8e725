"""The Pareto front of a set of points."""

from collections.abc import Sequence

import numpy as np


def front(values: Sequence[Sequence[float]], better: Sequence[str]) -> list[int]:
    """The rows that no other one dominates: none is at least as good everywhere and better somewhere.

    values: (n, objectives); better: "lower" or "higher", one for each objective. Equal rows are all in, or all out.
    Of one objective: the rows with the best value.
    """
    signs = np.array([1.0 if direction == "lower" else -1.0 for direction in better])
    costs = np.array(values, dtype=np.float64).reshape(len(values), len(better)) * signs
    return [n for n, row in enumerate(costs) if not ((costs <= row).all(axis=1) & (costs < row).any(axis=1)).any()]
