"""The command line: which rows, on what, against what; runs them, prints their tables, keeps the record."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.markdown import Markdown

from ablatent.core.progress import console, track
from bench import table
from bench.machine import cores, machine, software
from bench.measure import Disagreement, Source, measure
from bench.record import Record, entry
from bench.row import At, Case, Row, load_row, row_names
from bench.side import SideFailed
from bench.trees import ROOT, trees

DISTURBED = 0.05
"""Share of the processor: a measurement beside which other processes took more is not recorded."""
RESULTS = ROOT / "benchmarks" / "results"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help="ROW or ROW:CASE; all rows without one")
    parser.add_argument("--list", action="store_true", help="print the rows with their cases, and stop")
    parser.add_argument("--quick", action="store_true", help="a trial of a few turns, which is not recorded")
    parser.add_argument("--full", action="store_true", help="also the cases that take long")
    parser.add_argument(
        "--against", metavar="COMMIT", help="beside the same row with the code of a commit; not recorded"
    )
    parser.add_argument("--alone", action="store_true", help="with --against: leave the other sides out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=cores(), help="of torch; some rows have their own number")
    return parser.parse_args(given)


def chosen(rows: Sequence[str], full: bool) -> list[tuple[str, Row, str]]:
    """(name, row, case) of what was typed. Raises SystemExit for names that do not exist."""
    names = row_names()
    found = []
    for typed in rows or names:
        name, _, case = typed.partition(":")
        if name not in names:
            raise SystemExit(f"expected a row, one of {', '.join(names)}; got {name!r}")
        row = load_row(name)
        if case and case not in row.cases:
            raise SystemExit(f"expected a case of {name}, one of {', '.join(row.cases)}; got {case!r}")
        cases = [case] if case else [c for c in row.cases if full or c not in row.full]
        found += [(name, row, c) for c in cases]
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Run the rows; the exit code: 1 where a row failed, a bound of time is no failure."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that worktrees are removed
    typed = arguments(given)
    todo = chosen(typed.rows, typed.full or typed.list)
    if typed.list:
        for name, row, case in todo:
            console.print(f"{name}{':' if case else ''}{case}  {row.title}{' (--full)' if case in row.full else ''}")
        return 0
    here, versions = machine(typed.device), software(ROOT)
    record, failed = Record(RESULTS / "bench.json", here), []
    console.print(", ".join(f"{k}: {v}" for k, v in {**here, **versions}.items()), markup=False)
    commits = [side.commit for _, row, _ in todo for side in row.sides.values() if isinstance(side, At)]
    with trees([*commits, *filter(None, [typed.against])]) as at, track("bench", len(todo), "cases") as bar:
        for name, row, case in todo:
            threads = row.threads or typed.threads
            try:
                sides = sides_of(row, at, typed.against, typed.alone)
                made = Case(case, {}, typed.device, threads, typed.quick, ROOT, Path(), Path())
                new = entry(row, case, measure(row, name, made, sides), versions, threads)
            except (SideFailed, Disagreement) as error:
                failed.append(f"{name}:{case}")
                console.print(f"[red]{name} {case} failed[/]")
                console.print(str(error), markup=False)
                bar.advance(1)
                continue
            if new["disturbed"] > DISTURBED:
                console.print(f"[yellow]not recorded[/]: other processes took {new['disturbed']:.0%} of the processor")
            elif not typed.quick and not typed.against:
                new = record.add(name, case, new)
                record.save()
            console.print(Markdown(table.section(name, row, {case: new})))
            bar.advance(1)
    if not typed.quick and not typed.against:
        write_page(record)
    if failed:
        console.print(f"[red]failed:[/] {', '.join(failed)}")
    return int(bool(failed))


def sides_of(row: Row, at: Mapping[str, Path], against: str | None, alone: bool) -> dict[str, Source]:
    """Side → where it comes from; with a commit to compare with, the first side also with the code of that commit."""
    sources = {
        name: Source(name, at[side.commit] if isinstance(side, At) else ROOT) for name, side in row.sides.items()
    }
    if against is None:
        return sources
    (first, ours), *others = sources.items()
    return {first: ours, against: Source(first, at[against]), **({} if alone else dict(others))}


def write_page(record: Record) -> None:
    """bench.md beside bench.json."""
    rows = {name: load_row(name) for name in row_names()}
    record.path.with_suffix(".md").write_text(table.page(record.machines, rows))
