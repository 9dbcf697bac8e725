"""Entries of the record as Markdown."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.record import Entry
from bench.row import Row

HEAD = ("case", "ours", "beside it", "ratio [95 %]", "memory", "of that before", "bound", "since the last")


def time_text(seconds: float) -> str:
    """12.3 ms, 4.56 s, 123 s."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s"


def memory_text(size: float) -> str:
    """In MB below 10 GB."""
    return f"{size / 1e6:.0f} MB" if size < 1e10 else f"{size / 1e9:.1f} GB"


def side_text(side: Mapping[str, Any], unit: str) -> str:
    """Median and quartiles, and the rate where a turn does several units."""
    s = side["seconds"]
    text = f"{time_text(s['median'])} [{time_text(s['low'])}, {time_text(s['high'])}]"
    return text if not unit else f"{text}, {side['units'] / s['median']:.3g} {unit}/s"


def change_text(entry: Entry) -> str:
    """What changed by more than noise since the entry before; a regression is in bold type."""
    if entry.get("since") is None:
        return "first"
    parts = [f"{name} {change:+.0%}" for name, change in entry["changes"].items()]
    worse = any(change > 0 for change in entry["changes"].values())
    text = ", ".join(parts) or "equal"
    return f"**slower: {text}**" if worse else text


def lines(row: Row, entries: Mapping[str, Entry]) -> Iterable[tuple[str, ...]]:
    """The cells of a row's table: a line for each case and each of its other sides."""
    for case, entry in entries.items():
        (_, first), *others = entry["sides"].items()
        bounds = "; ".join(
            f"{b['text']}: {'met' if b['met'] else '**not met**'} ({b['value']:.3g})" for b in entry["bounds"]
        )
        ends = (bounds, change_text(entry))
        memory = memory_text(first["memory"])
        growth = memory_text(first["memory"] - first["memory_before"])
        ours = side_text(first, row.unit)
        if not others:
            yield (case or "–", ours, "–", "–", memory, growth, *ends)
        for name, side in others:
            r = entry["ratios"][name]
            interval = f" [{r['low']:.3f}, {r['high']:.3f}]" if entry["rounds"] > 1 else " (one pair)"
            yield (
                case or "–",
                ours,
                f"{name}: {side_text(side, row.unit)}",
                f"**{r['median']:.3f}**{interval}",
                f"{memory} ({entry['memory_ratios'][name]:.2f})",
                f"{growth} ({entry['growth_ratios'][name]:.2f})",
                *ends,
            )


def section(name: str, row: Row, entries: Mapping[str, Entry]) -> str:
    """A row's heading, table and note. Cases in the row's order; those that it has no more are left out."""
    kept = {case: entries[case] for case in row.cases if case in entries}
    if not kept:
        return ""
    table = [HEAD, ("---",) * len(HEAD), *lines(row, kept)]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    taken = sorted({(e["software"]["commit"], e["when"][:10], e["threads"]) for e in kept.values()})
    where = "; ".join(f"{commit}, {day}, threads: {threads}" for commit, day, threads in taken)
    differences = [e["difference"] for e in kept.values() if e["difference"] is not None]
    allowed = max((row.agreement(case) or 0.0 for case in kept), default=0.0)
    agreed = f" Sides differ by at most {max(differences):.1e} (allowed: {allowed:g})." if differences else ""
    return f"### {name}: {row.title}\n\n{row.note}{agreed} Measured at {where}.\n\n{text}\n".replace("\n\n ", "\n\n")


def page(machines: Iterable[Mapping[str, Any]], rows: Mapping[str, Row]) -> str:
    """The whole record as Markdown."""
    parts = ["# Measurements\n\nWritten by `make bench`, from bench.json; docs/performance.md says how to read it.\n"]
    for of in machines:
        about = of["machine"]
        where = f"{about['processor']}, {about['cores']} cores, {about['memory_GB']} GB, device {about['device']}"
        entries = [e for cases in of["rows"].values() for e in cases.values()]
        versions = max(entries, key=lambda e: e["when"])["software"] if entries else {}
        listed = ", ".join(f"{k} {v}" for k, v in sorted(versions.items()) if k != "commit")
        parts.append(f"## {where}\n\n{listed}\n")
        parts += filter(None, (section(name, row, of["rows"].get(name, {})) for name, row in rows.items()))
    return "\n".join(parts)
