"""What the interactive charts of a page show, as JSON for templates/charts.js: rows with a place on each axis of x
and a value of each metric, and the lines that they make."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablatent.report.model import UNREADABLE, Stored, Sweep, show_value
from ablatent.report.sampling_cost import gflop_an_image, seconds_an_image
from ablatent.report.spreads import KINDS, spreads_of
from ablatent.report.tables import JobRow, seed_rows, shown_metrics

POINTS = 150
"""Of a training curve; longer ones are shown by the means of as many equal parts."""
DIGITS = 6
Values = list[float | None]


@dataclass(frozen=True)
class Chart:
    """An interactive chart. content: see templates/charts.js; alt: what it shows, in words."""

    caption: str
    alt: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Quantity:
    """What may stand on the axis of x: a value for each row, None where it is not known. along: the axis of the sweep
    along which its lines run; None: every row is a point of its own."""

    title: str
    values: Values
    along: str | None


def numeric_axes(sweep: Sweep) -> list[str]:
    """Axes (seeds apart) with two or more different numbers and nothing else."""
    found = []
    for axis in sweep.plain_axes:
        values = {j.axes.get(axis) for j in sweep.jobs if isinstance(j.axes.get(axis), int | float | str | None)}
        if len(values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            found.append(axis)
    return found


def line_label(sweep: Sweep, row: JobRow, axis: str | None) -> str:
    """The setting of a line that runs along an axis: all other axes of its rows."""
    return " ".join(f"{a}={show_value(row.axes[a])}" for a in sweep.plain_axes if a != axis) or "all jobs"


def sampling_of(sweep: Sweep, row: JobRow) -> Stored | None:
    """The stage of a row's first job whose summary counts network calls; None without one."""
    for key in row.jobs[0].stages.values():
        stored = sweep.objects.get(key)
        try:
            if stored is not None and stored.problem is None and stored.summary.get("nfe") is not None:
                return stored
        except UNREADABLE:  # named where its images are shown
            continue
    return None


def quantities(sweep: Sweep, rows: Sequence[JobRow]) -> list[Quantity]:
    """What differs between rows and is a number: numeric axes, network calls, operations, seconds."""
    axes = numeric_axes(sweep)
    sampled = [sampling_of(sweep, row) for row in rows]
    nfe: Values = [None if s is None else float(s.summary["nfe"]) for s in sampled]
    along = next((a for a in axes if _changes(sweep, rows, nfe, a)), axes[0] if axes else None)
    found = [Quantity(axis, [float(row.axes[axis]) for row in rows], axis) for axis in axes]
    found += [
        Quantity("NFE", nfe, along),
        Quantity("GFLOP per image", [None if s is None else gflop_an_image(s) for s in sampled], along),
        Quantity("seconds per image", [None if s is None else seconds_an_image(s) for s in sampled], along),
        Quantity("seconds of all stages", [_mean(sweep.job_seconds(j) for j in row.jobs) for row in rows], along),
    ]
    return [q for q in found if len(set(q.values) - {None}) > 1]


def _mean(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _changes(sweep: Sweep, rows: Sequence[JobRow], values: Values, axis: str) -> bool:
    """Whether the values differ among rows that differ in that axis alone."""
    lines: dict[str, set[float]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            lines.setdefault(line_label(sweep, row, axis), set()).add(value)
    return any(len(v) > 1 for v in lines.values())


BARS = {
    "trainings": "standard deviation over trainings",
    "sets": "standard deviation over sets of samples",
    "samples": "half of the 95 % interval over samples",
    "metric": "the metric's own spread",
    None: "",
}
"""What the bars of a chart are."""


def results_chart(sweep: Sweep) -> Chart | None:
    """Every metric over every quantity, a point for each job (of seeds: their mean); None where nothing differs."""
    rows = seed_rows(sweep)
    places = quantities(sweep, rows)
    metrics = [_metric(sweep, rows, name) for name in shown_metrics(sweep)]
    metrics = [m for m in metrics if len(set(m["values"]) - {None}) > 1]
    if not places or not metrics:
        return None
    leading = metrics[0]["values"]  # axes along which it changes come first
    places.sort(key=lambda q: q.along is not None and not _changes(sweep, rows, leading, q.along))
    names = [" ".join(f"{a}={show_value(v)}" for a, v in row.axes.items()) or row.jobs[0].name for row in rows]
    x = [{"title": q.title, "values": _short(q.values), "series": _series(sweep, rows, q)} for q in places]
    first, about = places[0], metrics[0]
    known = [(p, v) for p, v in zip(first.values, about["values"], strict=True) if p is not None and v is not None]
    alt = f"Chart of {len(rows)} settings: {', '.join(m['title'] for m in metrics)}; over {_or(places)}."
    if known:
        lowest, highest = min(known, key=lambda k: k[1]), max(known, key=lambda k: k[1])
        alt += (
            f" {about['title']} lies between {lowest[1]:.4g} ({first.title} {lowest[0]:g})"
            f" and {highest[1]:.4g} ({first.title} {highest[0]:g})."
        )
    return Chart("Results", alt, {"rows": names, "x": x, "y": metrics})


def _or(places: Sequence[Quantity]) -> str:
    return " or ".join(q.title for q in places)


def _metric(sweep: Sweep, rows: Sequence[JobRow], name: str) -> dict[str, Any]:
    """Values and half bars of one metric, and what the bars are: of one kind in all rows."""
    spreads = [spreads_of(sweep, row.jobs, name) for row in rows]
    kind = next((k for k in KINDS if any(s is not None and s.over(k) is not None for s in spreads)), None)
    of_sets = any(s.of_sets for s in spreads if s)
    return {
        "title": sweep.metrics[name].title,
        "values": _short([s.value if s else None for s in spreads]),
        "half": _short([s.over(kind) if s and kind else None for s in spreads]),
        "bars": BARS["sets" if kind == "samples" and of_sets else kind],
    }


def _series(sweep: Sweep, rows: Sequence[JobRow], quantity: Quantity) -> list[dict[str, Any]]:
    lines: dict[str, list[int]] = {}
    for n, row in enumerate(rows):
        lines.setdefault(line_label(sweep, row, quantity.along), []).append(n)
    order = {n: (value is None, value or 0.0) for n, value in enumerate(quantity.values)}
    return [{"label": label, "rows": sorted(of, key=order.__getitem__)} for label, of in lines.items()]


def curves_chart(sweep: Sweep, kind: str) -> Chart | None:
    """The training curves of all stages of a kind, a line for each stage; None without any."""
    found: list[tuple[str, dict[str, np.ndarray]]] = []
    for stored in sweep.of_kind(kind):
        try:
            found.append((sweep.label(stored.key), {n: _shortened(c) for n, c in stored.curves().items()}))
        except UNREADABLE:  # named beside the static figure
            continue
    names = curve_order(found)
    if not names:
        return None
    steps: Values = []
    values: dict[str, Values] = {name: [] for name in names}
    series = []
    for label, curves in found:
        mine = sorted({float(s) for curve in curves.values() for s in curve[:, 0]})
        series.append({"label": label, "rows": [len(steps) + n for n in range(len(mine))]})
        steps += mine
        for name in names:
            at = {float(s): float(v) for s, v in curves.get(name, ())}
            values[name] += [at.get(s) for s in mine]
    y = [{"title": name, "values": _short(of), "half": None, "bars": ""} for name, of in values.items()]
    caption = f"Training curves: {kind}"
    alt = f"{caption}, a line for each of {len(series)}: {', '.join(names)} over steps."
    x = [{"title": "step", "values": _short(steps), "series": series}]
    return Chart(caption, alt, {"rows": None, "x": x, "y": y})


def curve_order(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The names of all curves: validation first, then the loss, then the others."""
    names = list(dict.fromkeys(n for _, curves in found for n in curves))
    return sorted(names, key=lambda n: (not n.startswith("validation"), n != "train/loss", n))


def _shortened(curve: np.ndarray) -> np.ndarray:
    """(n, 2) steps and values -> at most POINTS of them: the last step and the mean value of each of equal parts."""
    curve = curve[np.isfinite(curve[:, 1])]
    if len(curve) <= POINTS:
        return curve
    parts = np.array_split(curve, POINTS)
    return np.array([[part[-1, 0], part[:, 1].mean()] for part in parts])


def _short(values: Sequence[float | None]) -> Values:
    """Values with as many digits as a chart can show."""
    return [None if v is None else float(f"{v:.{DIGITS}g}") for v in values]


def as_json(chart: Chart) -> str:
    """The content of a chart in one line."""
    return json.dumps(chart.content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
