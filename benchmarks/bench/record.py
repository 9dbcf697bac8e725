"""The record of measurements, by machine, row and case, and what changed since the one before."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import CaseResult
from bench.ratios import beyond_noise
from bench.row import Row

Entry = dict[str, Any]


def entry(row: Row, case: str, result: CaseResult, software: Mapping[str, Any], threads: int) -> Entry:
    """A measured case as JSON, with its bounds."""
    found = asdict(result)
    bounds = [{"text": text, "value": v, "met": v <= limit} for text, v, limit in bounds_of(row, case, result)]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"when": when, "software": dict(software), "threads": threads, **found, "bounds": bounds}


def bounds_of(row: Row, case: str, result: CaseResult) -> list[tuple[str, float, float]]:
    """(the bound in words, what was measured, the limit), for each bound of a case whose sides were measured."""
    ours = next(iter(result.sides.values()))
    found = []
    for b in row.bounds_of(case):
        if b.time is not None and b.of in result.ratios:
            found.append((f"≤ {b.time:g} × {b.of}", result.ratios[b.of].median, b.time))
        if b.memory is not None and b.of in result.growth_ratios:
            found.append((f"memory ≤ {b.memory:g} × {b.of}", result.growth_ratios[b.of], b.memory))
        if b.megabytes is not None and b.of in result.sides:
            more = (ours.memory - result.sides[b.of].memory) / 1e6
            found.append((f"at most {b.megabytes:g} MB more than {b.of}", more, b.megabytes))
        if b.seconds is not None:
            found.append((f"≤ {b.seconds:g} s", ours.seconds.median, b.seconds))
        if b.gigabytes is not None:
            found.append((f"≤ {b.gigabytes:g} GB", ours.memory / 1e9, b.gigabytes))
    return found


def changes(now: Entry, before: Entry | None) -> dict[str, float]:
    """What changed by more than noise since the entry before: name → relative change, above 0 for slower or larger.

    Ratios of times by the name of the other side, where there is one, since the machine's own speed is in both; else
    the seconds themselves ("seconds", from 10 % on). "memory" from 10 % on.
    """
    if before is None:
        return {}
    found: dict[str, float | None] = {}
    for name, ratio in now["ratios"].items():
        if name in before["ratios"]:
            old = before["ratios"][name]
            found[name] = beyond_noise(*(tuple(r[k] for k in ("median", "low", "high")) for r in (ratio, old)))
    first, earlier = (next(iter(e["sides"].values())) for e in (now, before))
    if not now["ratios"]:
        spreads = [tuple(side["seconds"][k] for k in ("median", "low", "high")) for side in (first, earlier)]
        found["seconds"] = beyond_noise(spreads[0], spreads[1], 0.1)
    memory = [(float(side["memory"]),) * 3 for side in (first, earlier)]
    found["memory"] = beyond_noise(memory[0], memory[1], 0.1) if earlier["memory"] else None
    return {name: change for name, change in found.items() if change is not None}


class Record:
    """The file of all measurements: machine → row → case → entry. Machines are equal where what `machine` says is."""

    def __init__(self, path: Path, machine: Mapping[str, Any]) -> None:
        self.path = path
        self.machines: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
        here = next((m for m in self.machines if m["machine"] == dict(machine)), None)
        if here is None:
            here = {"machine": dict(machine), "rows": {}}
            self.machines.append(here)
        self.rows: dict[str, dict[str, Entry]] = here["rows"]

    def last(self, row: str, case: str) -> Entry | None:
        """The last measurement of a case on this machine."""
        return self.rows.get(row, {}).get(case)

    def add(self, row: str, case: str, new: Entry) -> Entry:
        """Take the place of the last measurement; the entry with what changed since, and since when."""
        before = self.last(row, case)
        since = None if before is None else f"{before['software']['commit']} ({before['when'][:10]})"
        new = {**new, "changes": changes(new, before), "since": since}
        self.rows.setdefault(row, {})[case] = new
        return new

    def save(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.machines, indent=1, ensure_ascii=False) + "\n")
