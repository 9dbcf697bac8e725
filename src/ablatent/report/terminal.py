"""The tables that a run ends with, on the terminal."""

from pathlib import Path

from rich.table import Table as RichTable
from rich.text import Text

from ablatent.core.errors import AblatentError
from ablatent.core.escape import one_line
from ablatent.report.load import load_sweep
from ablatent.report.metrics import best_of, decimals
from ablatent.report.model import show_value
from ablatent.report.tables import failures, incomparable, shown_metrics
from ablatent.report.verdict_text import lines
from ablatent.report.verdicts import verdicts_of


def final_table(store_root: Path, sweep_id: str, record: Path | None = None) -> RichTable:
    """One row a job: axes, the scores that are declared for the terminal (of a job without any: all), and seconds.

    seconds: wall time of all stages that the job stands on, whoever built them. record: see `load_sweep`. Raises
    ConfigError: unknown sweep.
    """
    sweep = load_sweep(store_root, sweep_id, record)
    every = shown_metrics(sweep)
    metrics = [m for m in every if sweep.metrics[m].shown_in == "terminal"] or every  # a task has scores of its own
    bad = incomparable(sweep)
    table = RichTable(header_style="bold", pad_edge=False, box=None)
    for axis in sweep.axes or ["job"]:
        table.add_column(Text(one_line(axis)), overflow="fold")
    columns: list[list[Text]] = []
    for metric in metrics:
        about = sweep.metrics[metric]
        table.add_column(Text(one_line(about.title)), justify="right")
        values = [j.scores[metric].value if metric in j.scores else None for j in sweep.jobs]
        places = decimals(v for v in values if v is not None)
        best = best_of(values, None if metric in bad else about.better, places)
        texts = ["–" if v is None else f"{v:.{places}f}" for v in values]
        columns.append([Text(t, style="bold green" if n in best else "") for n, t in enumerate(texts)])
    table.add_column("seconds", justify="right")
    unfinished = any(j.status != "finished" for j in sweep.jobs)
    if unfinished:
        table.add_column("status")
    for n, job in enumerate(sweep.jobs):
        axes = [show_value(job.axes.get(a)) for a in sweep.axes] or [job.name]
        cost = sweep.job_seconds(job)
        status = [Text(job.status, style="" if job.status == "finished" else "red")] if unfinished else []
        table.add_row(
            *(Text(one_line(a)) for a in axes),
            *(c[n] for c in columns),
            "–" if cost is None else f"{cost:.1f}",
            *status,
        )
    return table


def failures_table(store_root: Path, sweep_id: str, record: Path | None = None) -> RichTable | None:
    """Jobs that did not finish: job, status, stage, kind and message; None when all did."""
    found = failures(load_sweep(store_root, sweep_id, record))
    if found is None:
        return None
    table = RichTable(
        title="Jobs that did not finish", title_style="bold red", header_style="bold", pad_edge=False, box=None
    )
    for column in found.columns:
        table.add_column(column, overflow="fold")
    for row in found.rows:
        table.add_row(*(Text(one_line(cell.text)) for cell in row))
    return table


def verdict_lines(store_root: Path, sweep_id: str, record: Path | None = None) -> list[str]:
    """One line a claim: its verdict, and what it rests on. None for claims that cannot be read: the report says why."""
    try:
        return [one_line(line) for line in lines(verdicts_of(load_sweep(store_root, sweep_id, record)))]
    except AblatentError:
        return []
