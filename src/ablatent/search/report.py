"""The report of a search, over all batches of its trials: report.html and trials.csv beside search.json."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ablatent.core.disk import full_disk_named
from ablatent.core.escape import for_console, for_csv
from ablatent.core.files import write_atomic, write_json
from ablatent.core.progress import console, counted
from ablatent.report.html import fill
from ablatent.report.page import Figure
from ablatent.report.place import HTML
from ablatent.report.tables import Cell, TableData
from ablatent.search.record import FAILED, FINISHED, PRUNED, STOPPED, SearchRecord, TrialRecord
from ablatent.store.layout import search_folder

IMPORTANCE = (
    "The share of the variance of an objective among the finished trials that each key explains, as a random forest "
    "estimates it (fANOVA, Hutter et al. 2014). A search visits good places more often: read it as a hint."
)
TONES = {FINISHED: "ok", FAILED: "bad"}


def write(root: Path, record: SearchRecord) -> Path:
    """Write search.json, trials.csv and report.html into the folder of the search; the path of the page.

    root: of the store. Raises DiskFull for want of space.
    """
    folder = search_folder(root, record.name)
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "search.json", record.to_json())
        write_atomic(folder / "trials.csv", _csv(record).encode())
        write_atomic(folder / HTML, page(record).encode())
    return folder / HTML


def show(root: Path, record: SearchRecord) -> None:
    """Write the report, and print the best trials and where it is."""
    path = write(root, record)
    objectives = [o.title for o in record.objectives]
    title = "Pareto front" if len(objectives) > 1 else "best"
    table = Table("trial", *map(for_console, [*record.space, *objectives]), title=title, title_justify="left")
    for trial in record.best:
        cells = [trial.parameters.get(key, "") for key in record.space]
        table.add_row(str(trial.number), *map(for_console, cells), *(f"{v:.4g}" for v in trial.values))
    console.print(table)
    console.print(for_console(f"search {record.name}: {lead(record)}"))
    console.print(for_console(f"search report: {path}"))


def lead(record: SearchRecord) -> str:
    """How the trials ended, in one line."""
    states = [trial.state for trial in record.trials]
    ends = ", ".join(
        f"{states.count(s)} {s}" for s in dict.fromkeys([FINISHED, PRUNED, FAILED, STOPPED, *states]) if s in states
    )
    return f"{counted(len(states), 'trial')}: {ends or 'none'} · {', '.join(o.title for o in record.objectives)}"


def page(record: SearchRecord) -> str:
    """The page; every text is escaped."""
    best = {trial.number for trial in record.best}
    importance = _importance(record) if record.importance else None
    sweeps = sorted({trial.sweep for trial in record.trials if trial.sweep is not None})
    return fill(
        "search.html.j2",
        record=record,
        lead=f"{lead(record)} · {record.search}, seed {record.seed}",
        space=TableData(["key", "values"], [[Cell(k), Cell(v)] for k, v in record.space.items()], 2),
        best=_trials(record, record.best, frozenset()),
        trials=_trials(record, record.trials, best),
        importance=importance,
        about_importance=IMPORTANCE,
        figures=_figures(record, best),
        sweeps=sweeps,
    )


def _trials(record: SearchRecord, trials: Sequence[TrialRecord], best: frozenset[int] | set[int]) -> TableData:
    """A row for each trial. best: the numbers of those whose values are marked."""
    rows = []
    for trial in trials:
        values = [f"{v:.5g}" for v in trial.values] or ["–"] * len(record.objectives)
        place = "–" if trial.sweep is None else f"{trial.sweep}:{trial.job}"
        rows.append(
            [
                Cell(str(trial.number)),
                Cell(trial.state, tone=TONES.get(trial.state, "quiet")),
                *(Cell(trial.parameters.get(key, "–")) for key in record.space),
                *(Cell(v, best=trial.number in best) for v in values),
                Cell(place),
                Cell(trial.reason.partition("\n")[0], hint=trial.reason),
            ]
        )
    columns = ["trial", "state", *record.space, *(o.title for o in record.objectives), "sweep:job", "remark"]
    return TableData(columns, rows, 2 + len(record.space))


def _importance(record: SearchRecord) -> TableData:
    rows = [
        [Cell(key), *(Cell(f"{shares.get(key, 0.0):.0%}") for shares in record.importance.values())]
        for key in record.space
    ]
    return TableData(["key", *record.importance], rows)


def _figures(record: SearchRecord, best: set[int]) -> list[Figure]:
    """The front of two objectives; nothing for another number of them, or without finished trials."""
    points = [(t.number, t.values[0], t.values[1]) for t in record.trials if len(t.values) == 2]
    if not points:
        return []
    from ablatent.report.fronts import front_figure

    titles = [o.title for o in record.objectives]
    return [Figure("front", f"{titles[0]} and {titles[1]} of all trials", front_figure(points, best, titles))]


def _csv(record: SearchRecord) -> str:
    """One row a trial, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [*record.space, *(o.name for o in record.objectives)]
    writer.writerow(["trial", "state", *map(for_csv, names), "sweep", "job"])
    for trial in record.trials:
        values = [repr(v) for v in trial.values] or [""] * len(record.objectives)
        parameters = [for_csv(trial.parameters.get(key, "")) for key in record.space]
        writer.writerow(
            [trial.number, trial.state, *parameters, *values, trial.sweep or "", "" if trial.job is None else trial.job]
        )
    return out.getvalue()
