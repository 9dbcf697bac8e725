"""Measures one case: its sides in turn (A B A B …), each in its own process."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.machine import OtherLoad
from bench.ratios import Ratio, Spread, paired_ratio, spread
from bench.row import Case, Row
from bench.side import Side

LEAST_TURN = 0.05  # seconds; what is shorter is repeated within a turn


@dataclass(frozen=True)
class SideResult:
    """Of one side. seconds: of a unit of work; memory: peak in bytes, without first turns; memory_before: before the
    first turn, with the weights; prepared: seconds until the first turns had ended (imports, weights, compiling), which
    count nowhere."""

    seconds: Spread
    memory: int
    memory_before: int
    prepared: float
    units: float


@dataclass(frozen=True)
class CaseResult:
    """Of a case. ratios, memory_ratios, growth_ratios: the first side's over each other's: of seconds, of peak memory,
    and of what was added to the memory before the first turn. difference: the largest between the values of two sides;
    disturbed: the share of the processor that other processes took meanwhile."""

    sides: Mapping[str, SideResult]
    ratios: Mapping[str, Ratio]
    memory_ratios: Mapping[str, float]
    growth_ratios: Mapping[str, float]
    difference: float | None
    rounds: int
    disturbed: float = 0.0


@dataclass(frozen=True)
class Source:
    """Where a side comes from. side: its name in the row; root: of the tree whose code it runs."""

    side: str
    root: Path


class Disagreement(Exception):
    """The sides compute different things, so that their times say nothing."""


def measure(row: Row, name: str, case: Case, sources: Mapping[str, Source]) -> CaseResult:
    """A case of the row of this name, with the sides of these names, the first of them ours.

    Raises SideFailed, Disagreement.
    """
    with _sides(name, case, sources) as sides:
        repeats = _first_turns(row, sides)
        difference = _difference(row.agreement(case.name), sides)
        ours = sides[0]
        times: dict[str, list[float]] = {side.name: [] for side in sides}
        min_rounds, max_rounds = (1, 3) if case.quick else row.rounds
        load = OtherLoad(side.process.pid for side in sides)
        budget, start = (2.0 if case.quick else row.seconds), time.monotonic()
        while len(times[ours.name]) < min_rounds or (
            len(times[ours.name]) < max_rounds and time.monotonic() - start < budget
        ):
            for side in sides:
                times[side.name].append(side.turn(repeats[side.name]))
        disturbed = load.share()
        results = {side.name: _result(side, times[side.name]) for side in sides}
    first, others = results[ours.name], {k: v for k, v in results.items() if k != ours.name}
    return CaseResult(
        results,
        {k: paired_ratio(times[ours.name], times[k]) for k in others},
        {k: first.memory / max(v.memory, 1) for k, v in others.items()},
        {k: (first.memory - first.memory_before) / max(v.memory - v.memory_before, 1) for k, v in others.items()},
        difference,
        len(times[ours.name]),
        disturbed,
    )


@contextmanager
def _sides(name: str, case: Case, sources: Mapping[str, Source]) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        shared = folder / "shared"
        shared.mkdir()
        sides = []
        for i, (shown, source) in enumerate(sources.items()):
            scratch = folder / f"side{i}"
            scratch.mkdir()
            own = replace(case, root=source.root, scratch=scratch, shared=shared)
            started = Side(shown, name, source.side, own)
            stack.callback(started.stop)
            sides.append(started)
        for started in sides:
            started.ready()
        yield sides


def _first_turns(row: Row, sides: list[Side]) -> dict[str, int]:
    """Turns that do not count, which compile and fill caches; side → how often a turn repeats what is short."""
    repeats = {}
    for side in sides:
        start, seconds = time.monotonic(), LEAST_TURN
        for _ in range(row.warmup):
            seconds = side.turn(1)
        side.forget_peak()  # that of compiling
        side.prepared_seconds += time.monotonic() - start
        repeats[side.name] = max(1, round(LEAST_TURN / max(seconds, 1e-6)))
    return repeats


def _difference(allowed: float | None, sides: list[Side]) -> float | None:
    """The largest difference between the values of the first side and those of another. Raises Disagreement for one
    that is not allowed."""
    if allowed is None or len(sides) == 1:
        return None
    values = [side.value(side.log.with_name("value.npz")) for side in sides]
    differences = []
    for side, value in zip(sides[1:], values[1:], strict=True):
        if value.keys() != values[0].keys() or not value:
            raise Disagreement(f"expected the values {sorted(values[0])}; {side.name} gave {sorted(value)}")
        for key, array in value.items():
            if array.shape != values[0][key].shape:
                raise Disagreement(f"{key}: expected {values[0][key].shape}; {side.name} gave {array.shape}")
            differences.append(np.abs(array.astype(np.float64) - values[0][key]).max())
    worst = float(np.max(differences))  # NaN where there is one
    if not worst <= allowed:
        raise Disagreement(f"expected sides that agree to {allowed:g}; they differ by {worst:.3g}")
    return worst


def _result(side: Side, times: list[float]) -> SideResult:
    return SideResult(spread(times), side.peak, side.memory_before, side.prepared_seconds, side.units)
