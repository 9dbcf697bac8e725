"""What a row declares. Each file in rows/ has one, named ROW; there is no other list of them.

A side is a function of a `Case` that prepares one thing to be timed. It runs in a process of its own, so that neither
settings of torch nor memory of one side reach another; the same function serves other commits, with their code.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One line of a row's table, as a side sees it.

    name, options: as the row declares them; device: cpu or cuda; threads: of torch; quick: little is enough, this is a
    trial; root: of the repository whose code runs, with run.py and conf/; scratch: a folder of this side alone; shared:
    a folder of all sides of this case. Both are removed afterwards.
    """

    name: str
    options: Mapping[str, Any]
    device: str
    threads: int
    quick: bool
    root: Path
    scratch: Path
    shared: Path


@dataclass
class Prepared:
    """One side, ready to be timed.

    call: one turn, what is timed. What it returns is ignored, but for a number: seconds that count in place of those
    that passed (a part of the turn, or a sum that a store recorded). loop: in place of call, for what has a loop of its
    own, such as a training: runs until it is ended, and calls the function that it is given before each unit of work.
    value: what must agree between the sides, of the same names; called once, after the first turns. units: how many
    (images, say) a turn does; times: by what seconds are multiplied, where a turn does a part of what is compared.
    """

    call: Callable[[], float | None] | None = None
    loop: Callable[[Callable[[], None]], None] | None = None
    value: Callable[[], Mapping[str, np.ndarray]] | None = None
    units: float = 1.0
    times: float = 1.0


Maker = Callable[[Case], Prepared]


@dataclass(frozen=True)
class At:
    """A side that runs with the code of a commit, from a worktree of its own."""

    commit: str
    maker: Maker


@dataclass(frozen=True)
class Bound:
    """What the project demands of the first side.

    of: the other side, for what is relative; time: at most so many times its seconds; memory: at most so many times its
    memory beyond that before the first turn; megabytes: at most so many MB more than its peak. seconds, gigabytes: at
    most so many, whatever other sides take. cases: that it is for, empty for all.
    """

    of: str = ""
    time: float | None = None
    memory: float | None = None
    megabytes: float | None = None
    seconds: float | None = None
    gigabytes: float | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """title: what is compared, a line; sides: name → how it is prepared, ours first; cases: name → options, in the
    order of the table; unit: of `Prepared.units`, for rates; agree: largest absolute difference between the values of
    two sides, None where they have none; agree_in: the same for single cases; bounds: what is demanded; seconds: of
    turns in all, for each case; rounds: how many at least and at most; warmup: turns before those that count; full:
    cases that only run where they are named, or with --full; threads: of torch, None for all cores; note: what a reader
    of the table must know.
    """

    title: str
    sides: Mapping[str, Maker | At]
    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    unit: str = ""
    agree: float | None = None
    agree_in: Mapping[str, float] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()
    seconds: float = 10.0
    rounds: tuple[int, int] = (5, 40)
    warmup: int = 1
    full: frozenset[str] = frozenset()
    threads: int | None = None
    note: str = ""

    def agreement(self, case: str) -> float | None:
        """The largest difference that is allowed in a case."""
        return self.agree_in.get(case, self.agree)

    def bounds_of(self, case: str) -> list[Bound]:
        """Those of a case."""
        return [b for b in self.bounds if not b.cases or case in b.cases]


def compiled(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same cases with the option `compiled`, under names that say so."""
    return {f"{name}, compiled": {**options, "compiled": True} for name, options in cases.items()}


def in_bfloat16(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same cases with `precision` bf16-mixed, and eager, under names that say so."""
    return {f"{name}, bf16": {**options, "precision": "bf16-mixed"} for name, options in cases.items()}


def row_names() -> list[str]:
    """The names of all rows: of the files in rows/."""
    folder = Path(__file__).with_name("rows")
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]))


def load_row(name: str) -> Row:
    """The row of a file in rows/."""
    row: Row = importlib.import_module(f"bench.rows.{name}").ROW
    return row
