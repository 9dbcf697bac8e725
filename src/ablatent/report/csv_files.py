"""The scores of a sweep as CSV files, with numbers in full."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablatent.core.escape import for_csv
from ablatent.report.model import Sweep, show_value
from ablatent.report.spreads import KINDS, spreads_of
from ablatent.report.tables import seed_rows


def jobs_csv(sweep: Sweep) -> str:
    """One row a job: index, name, status, axes, every metric, seconds.

    NAME_std: the metric's own spread (of a share, half of its interval); NAME_low, NAME_high: the 95 % interval over
    the samples of the one training.
    """
    metrics = list(sweep.metrics)
    scores = {m: [j.scores[m] for j in sweep.jobs if m in j.scores] for m in metrics}
    spread = [m for m in metrics if any(s.std is not None for s in scores[m])]
    ranged = [m for m in metrics if any(s.interval is not None for s in scores[m])]
    names = [*sweep.axes, *metrics, *(f"{m}_std" for m in spread)]
    names += [f"{m}_{end}" for m in ranged for end in ("low", "high")]
    rows = []
    for job in sweep.jobs:
        values = [job.scores[m].value if m in job.scores else None for m in metrics]
        values += [job.scores[m].std if m in job.scores else None for m in spread]
        for metric in ranged:
            score = job.scores.get(metric)
            values += [None, None] if score is None or score.interval is None else list(score.interval)
        cost = sweep.job_seconds(job)
        axes = _axes(job.axes, sweep.axes)
        seconds = "" if cost is None else f"{cost:.3f}"
        rows.append([job.index, for_csv(job.name), job.status, *axes, *map(_full, values), seconds])
    return _written(["index", "name", "status", *map(for_csv, names), "seconds"], rows)


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
        rows.append([*_axes(row.axes, sweep.plain_axes), *map(_full, values), *counts])
    counted = [f"{metric}_trainings" for metric in sweep.metrics]
    return _written(list(map(for_csv, [*sweep.plain_axes, *names, *counted])), rows)


def _axes(values: Mapping[str, Any], axes: Iterable[str]) -> list[str]:
    return ["" if values.get(axis) is None else for_csv(show_value(values[axis])) for axis in axes]


def _full(value: float | None) -> str:
    return "" if value is None else repr(value)


def _written(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()
