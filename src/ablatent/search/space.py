"""The space of a search: for each of some keys the values that it may take. Free of Hydra and Optuna."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from ablatent.core.errors import ConfigError

Point = Mapping[str, str]
"""Key → value, as both are typed."""
END = math.nextafter(1.0, 0.0)
"""The last share of a dimension, below 1."""


@runtime_checkable
class Suggests(Protocol):
    """What a dimension asks of a trial of Optuna: a value by its name and range."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from low to high, both included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from low to high."""


@dataclass(frozen=True)
class Dimension(ABC):
    """A key and its values. typed: these as on the command line, for messages."""

    key: str
    typed: str

    @abstractmethod
    def at(self, share: float) -> str:
        """The value, as typed, at a share of the dimension, in [0, 1)."""

    @abstractmethod
    def suggest(self, trial: Suggests) -> str:
        """The value, as typed, that a trial takes."""


@dataclass(frozen=True)
class Choice(Dimension):
    """Values without an order. Raises ConfigError for less than two."""

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_several(self, self.values)

    def at(self, share: float) -> str:
        return self.values[int(share * len(self.values))]

    def suggest(self, trial: Suggests) -> str:
        return trial.suggest_categorical(self.key, self.values)


@dataclass(frozen=True)
class Steps(Dimension):
    """Numbers at equal distances, rising. Raises ConfigError for less than two."""

    values: tuple[int, ...] | tuple[float, ...]

    def __post_init__(self) -> None:
        _check_several(self, self.values)

    def at(self, share: float) -> str:
        return repr(self.values[int(share * len(self.values))])

    def suggest(self, trial: Suggests) -> str:
        low, high, step = self.values[0], self.values[-1], self.values[1] - self.values[0]
        if isinstance(step, int):
            return repr(trial.suggest_int(self.key, int(low), int(high), step=step))
        return repr(self.values[trial.suggest_int(self.key, 0, len(self.values) - 1)])  # exact to the last digit


@dataclass(frozen=True)
class Interval(Dimension):
    """Numbers from low to high: whole ones where both are. log: spread evenly over their logarithms.

    Raises ConfigError unless low is below high, and above 0 where log.
    """

    low: int | float
    high: int | float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(self.key, "an interval of finite numbers whose end is above its start", self.typed)
        if self.log and self.low <= 0:
            raise ConfigError(self.key, "an interval above 0 for tag(log, …)", self.typed)

    @property
    def whole(self) -> bool:
        """Whether its numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> str:
        low, high = float(self.low), float(self.high + self.whole)
        value = math.exp(_between(math.log(low), math.log(high), share)) if self.log else _between(low, high, share)
        value = min(max(value, self.low), self.high)
        return repr(math.floor(value) if self.whole else value)

    def suggest(self, trial: Suggests) -> str:
        if self.whole:
            return repr(trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log))
        return repr(trial.suggest_float(self.key, self.low, self.high, log=self.log))


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _check_several(dimension: Dimension, values: Sequence[object]) -> None:
    if len(set(values)) < 2:
        do = f"Type {dimension.key}={values[0]} for a fixed value." if values else ""
        raise ConfigError(dimension.key, "two or more values to search over", dimension.typed, do)


@dataclass(frozen=True)
class Space:
    """Dimensions, and the overrides that all points share. Raises ConfigError without dimensions."""

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.dimensions:
            expected = "a key with several values: KEY=choice(…), range(…), interval(…), tag(log,interval(…)) or A,B"
            raise ConfigError("hydra.sweeper", expected, " ".join(self.fixed) or "nothing")

    @cached_property
    def keys(self) -> list[str]:
        """The keys of the dimensions, in order."""
        return [dimension.key for dimension in self.dimensions]

    def at(self, shares: Sequence[float]) -> Point:
        """The point at a share in [0, 1) of each dimension."""
        return {d.key: d.at(float(share)) for d, share in zip(self.dimensions, shares, strict=True)}

    def suggest(self, trial: Suggests) -> Point:
        """The point of a trial."""
        return {d.key: d.suggest(trial) for d in self.dimensions}

    def ends(self) -> list[Point]:
        """The points with all first and with all last values."""
        return [self.at([share] * len(self.dimensions)) for share in (0.0, END)]

    def overrides(self, point: Point) -> list[str]:
        """The overrides of the job of a point."""
        return [*self.fixed, *(f"{key}={value}" for key, value in point.items())]
