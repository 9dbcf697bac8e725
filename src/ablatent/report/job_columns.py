"""What the jobs of a sweep came to, in plain values: of report.csv, and of `ablatent.results`."""

from typing import Any

from ablatent.report.model import Sweep, show_value


def job_columns(sweep: Sweep) -> dict[str, list[Any]]:
    """Name → a value a job, None where it has none: index, name, status, axes, every metric, seconds.

    NAME_std: the metric's own spread (of a share, half of its interval); NAME_low, NAME_high: the 95 % interval over
    the samples of the one training; both where some job has one. seconds: of all stages that the job stands on.
    """
    jobs = sweep.jobs
    columns: dict[str, list[Any]] = {
        "index": [job.index for job in jobs],
        "name": [job.name for job in jobs],
        "status": [job.status for job in jobs],
        **{axis: [job.axes.get(axis) for job in jobs] for axis in sweep.axes},
    }
    scores = {name: [job.scores.get(name) for job in jobs] for name in sweep.metrics}
    for name, found in scores.items():
        columns[name] = [None if s is None else s.value for s in found]
    for name, found in scores.items():
        if any(s is not None and s.std is not None for s in found):
            columns[f"{name}_std"] = [None if s is None else s.std for s in found]
    for name, found in scores.items():
        intervals = [None if s is None else s.interval for s in found]
        if any(intervals):
            columns[f"{name}_low"] = [None if i is None else i[0] for i in intervals]
            columns[f"{name}_high"] = [None if i is None else i[1] for i in intervals]
    return {**columns, "seconds": [sweep.job_seconds(job) for job in jobs]}


def plain_axis(value: Any) -> Any:
    """A value of an axis for a table: numbers, text and true or false as they are, others as they were typed."""
    return value if value is None or isinstance(value, str | bool | int | float) else show_value(value)
