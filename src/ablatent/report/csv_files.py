"""The scores of a sweep as CSV files, with numbers in full."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from ablatent.core.escape import for_csv
from ablatent.report.job_columns import job_columns
from ablatent.report.model import Sweep, show_value
from ablatent.report.spreads import KINDS, spreads_of
from ablatent.report.tables import seed_rows


def jobs_csv(sweep: Sweep) -> str:
    """One row a job: `job_columns`, with numbers in full."""
    numbers = {f"{metric}{end}" for metric in sweep.metrics for end in ("", "_std", "_low", "_high")}
    written: dict[str, list[str]] = {}
    for name, values in job_columns(sweep).items():
        if name in sweep.axes:
            written[name] = list(map(_axis, values))
        elif name == "seconds":
            written[name] = ["" if s is None else f"{s:.3f}" for s in values]
        else:  # index and status are no texts of users
            written[name] = [for_csv(v) if name == "name" else _full(v) if name in numbers else str(v) for v in values]
    return _written([for_csv(name) for name in written], zip(*written.values(), strict=True))


def settings_csv(sweep: Sweep) -> str:
    """One row a setting, over its seeds: axes, and of every metric the mean over trainings, with NAME_over_trainings,
    NAME_over_samples, NAME_over_metric and NAME_trainings: its spreads, see `Spreads`, and how many trainings."""
    columns = [(metric, kind) for metric in sweep.metrics for kind in ("", *KINDS)]
    names = [f"{metric}_over_{kind}" if kind else metric for metric, kind in columns]
    rows = []
    for row in seed_rows(sweep):
        spreads = {metric: spreads_of(sweep, row.jobs, metric) for metric in sweep.metrics}
        values = [None if (s := spreads[m]) is None else s.over(kind) if kind else s.value for m, kind in columns]
        counts = ["" if s is None else str(s.count) for s in spreads.values()]
        axes = [_axis(row.axes.get(axis)) for axis in sweep.plain_axes]
        rows.append([*axes, *map(_full, values), *counts])
    counted = [f"{metric}_trainings" for metric in sweep.metrics]
    return _written(list(map(for_csv, [*sweep.plain_axes, *names, *counted])), rows)


def _axis(value: Any) -> str:
    return "" if value is None else for_csv(show_value(value))


def _full(value: float | None) -> str:
    return "" if value is None else repr(value)


def _written(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()
