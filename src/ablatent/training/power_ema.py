"""Power-function averages of weights, and any width of them after the training (post-hoc EMA).

Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3.1 and appendix C. An
average of exponent gamma after t steps gives step tau the weight p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1).
Its width is sigma_rel, the standard deviation of p relative to t: the same share of a training, however long it is.
Free of torch.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import sqrt
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ablatent.core.errors import ConfigError
from ablatent.core.progress import counted

FOLDER = "power"
TOLERANCE = 0.1
"""Largest distance of a combined profile from the profile that it stands for, relative to the norm of the latter."""
WIDTHS = np.arange(1, 58) * 0.005
"""Widths that are tried where a message says which ones can be had."""


def width_of(gamma: float) -> float:
    """sigma_rel of an exponent of at least 0 (appendix C.1): (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2)."""
    return sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def gamma_of(width: float) -> float:
    """The exponent of a width in (0, 1/sqrt(12)]: the largest root of (gamma + 2)² (gamma + 3) = (gamma + 1) / width².

    0.05 gives 16.97 and 0.10 gives 6.94 (section 3.1); 1/sqrt(12) gives 0, the mean of all steps.
    """
    precision = width**-2
    return float(np.roots([1.0, 7.0, 16.0 - precision, 12.0 - precision]).real.max())


def decay_at(step: int, gamma: float) -> float:
    """beta of optimiser step `step` (1 for the first, where it is 0): (1 - 1 / step)^(gamma + 1) (equation 3)."""
    return float((1.0 - 1.0 / step) ** (gamma + 1.0))


class Average(NamedTuple):
    """A power-function average: after so many steps, of such a width."""

    step: int
    width: float


def kept_averages(steps: int, count: int, widths: Iterable[float], snapshots: Iterable[int] = ()) -> list[Average]:
    """The averages that a training of so many steps keeps, by step: each width `count` times, evenly spaced, the last
    at its end, and at the `snapshots` too."""
    regular = {-(-steps * i // count) for i in range(1, count + 1)}
    return [Average(step, float(width)) for step in sorted({*regular, *snapshots}) for width in widths]


def file_name(average: Average) -> str:
    """Under which it is kept: power/WIDTH-STEP."""
    return f"{FOLDER}/{average.width}-{average.step:07d}"


def stored_averages(folder: Path) -> dict[Average, Path]:
    """Those that a training kept below its folder, by step, and their files."""
    found = {}
    for file in (folder / FOLDER).glob("*-*.safetensors"):
        width, _, step = file.stem.rpartition("-")
        found[Average(int(step), float(width))] = file
    return dict(sorted(found.items()))


def inner_products(averages: Sequence[Average]) -> Float64[np.ndarray, "n n"]:
    """Integrals of the products of profiles, times the last of all steps (appendix C.3)."""
    steps = np.array([average.step for average in averages], dtype=np.float64)
    gammas = np.array([gamma_of(average.width) for average in averages])
    first, last = np.minimum.outer(steps, steps), np.maximum.outer(steps, steps)
    of_last = np.where(steps[:, None] >= steps[None, :], gammas[:, None], gammas[None, :])
    factor = np.outer(gammas + 1, gammas + 1) / (np.add.outer(gammas, gammas) + 1)
    return factor * (first / last) ** of_last * (steps.max() / last)


class Combination(NamedTuple):
    """Weights of kept averages, which sum to 1, and the residual: the distance of the combined profile from the one
    that was aimed at, relative to the norm of the latter."""

    weights: Float64[np.ndarray, " n"]
    residual: float


def fitted(kept: Sequence[Average], target: Average) -> Combination:
    """The combination of kept averages whose profile comes closest to that of the target, by least squares.

    Profiles are those of continuous time. The distance of the true ones, a number a step, is no larger: they are
    means of these over each step.
    """
    products = inner_products([*kept, target])
    # In differences from one of them, weights that sum to 1 are free.
    base = len(kept) - 1
    change = np.delete(np.eye(len(kept) + 1), base, axis=0)
    change[:, base] = -1.0
    of_changes = change @ products @ change.T
    free = np.linalg.lstsq(of_changes[:-1, :-1], of_changes[:-1, -1], rcond=1e-14)[0] if base else np.zeros(0)
    weights = np.append(free, 1.0 - free.sum())
    apart = np.append(weights, -1.0)
    return Combination(weights, sqrt(max(float(apart @ products @ apart), 0.0) / products[-1, -1]))


def combination(kept: Sequence[Average], target: Average, key: str) -> Combination:
    """`fitted`, of averages kept up to the target's step. Raises ConfigError, which names `key`, for a width whose
    profile they do not match to `TOLERANCE`, with those that they do match."""
    found = fitted(kept, target)
    if found.residual <= TOLERANCE:
        return found
    matched = [fitted(kept, Average(target.step, float(width))).residual <= TOLERANCE for width in WIDTHS]
    widths = sorted({average.width for average in kept})
    grouped = groupby(zip(WIDTHS, matched, strict=True), key=itemgetter(1))
    runs = [[float(width) for width, _ in run] for good, run in grouped if good]
    ranges = " or ".join(f"from {run[0]:g} to {run[-1]:g}" for run in runs)
    expected = f"a width {ranges}" if runs else f"one of {widths}"
    snapshots = counted(len({average.step for average in kept}), "snapshot")
    got = f"{target.width:g}, which is missed by {found.residual:.0%} with {snapshots} of the widths {widths}"
    raise ConfigError(key, expected, got, "Keep more of them with training.ema.power_snapshots, or other power_widths.")


def check_kept(kept: Sequence[Average], width: float, key: str) -> None:
    """Raise ConfigError, which names `key`, for a width where a training keeps no averages."""
    if not kept:
        expected = "null where the training keeps no power-function averages"
        raise ConfigError(key, expected, width, "Keep some with training.ema.power_widths=[0.05,0.1].")
