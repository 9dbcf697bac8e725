"""Which times a sampler visits: exactly S of them, strictly descending in [0, T-1], then the clean state.

All arithmetic is on whole numbers, so that no rounding of T / S costs or adds a step, for every S from 1 to T.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.schedules.base import CLEAN


def trailing(T: int, steps: int) -> Float64[np.ndarray, "S"]:
    """round(T (S - i) / S) - 1: starts at T-1, where training's noisiest state is (Lin et al. 2023, table 2)."""
    return np.round(T * np.arange(steps, 0, -1) / steps) - 1.0


def leading(T: int, steps: int) -> Float64[np.ndarray, "S"]:
    """floor(T i / S): ends at t = 0 and starts one stride *below* T, as the released DDIM and LDM code does.

    For comparison with published samples only: from pure noise it starts at a time whose x_t is not pure noise.
    """
    return (T * np.arange(steps - 1, -1, -1) // steps).astype(np.float64)


def linspace(T: int, steps: int) -> Float64[np.ndarray, "S"]:
    """Rounded equal distances from T-1 to 0, both included (Nichol & Dhariwal 2021); one step starts at T-1."""
    if steps == 1:
        return np.array([T - 1.0])
    return np.round((T - 1) * np.arange(steps - 1, -1, -1) / (steps - 1))


GRIDS: dict[str, Callable[[int, int], np.ndarray]] = {"trailing": trailing, "leading": leading, "linspace": linspace}


def check_grid(name: str) -> None:
    """ConfigError unless the grid exists."""
    if name not in GRIDS:
        raise ConfigError("sampler.grid", f"one of {', '.join(GRIDS)}", name, did_you_mean(name, GRIDS))


def time_grid(name: str, T: int, steps: int, start: float = 1.0) -> Float64[np.ndarray, "S1"]:
    """`steps` times and the clean state: (steps + 1,) float64, strictly descending, ending with CLEAN.

    start: the share of the T times that is sampled; 0.8 leaves out the noisiest fifth and spends the same number of
    steps on the rest (Nichol & Dhariwal 2021, figure 4). Raises ConfigError if there are fewer times than steps.
    """
    check_grid(name)
    used = max(round(start * T), 1)
    if not 1 <= steps <= used:
        why = "" if used == T else f" (sampler.start={start:g} leaves {used} of {T} times)"
        raise ConfigError("sampler.steps", f"an integer from 1 to {used}{why}", steps)
    return np.append(GRIDS[name](used, steps), CLEAN)
