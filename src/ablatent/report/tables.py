"""The tables of a report as plain cells, for HTML, Markdown and the terminal alike."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablatent.core.escape import for_csv
from ablatent.core.progress import seconds
from ablatent.report.metrics import best_of, decimals
from ablatent.report.model import JobResult, StoredScore, Sweep, show_value
from ablatent.store.records import JobFailure

STOPPED = "no record of its end: the run was stopped while it was at work"


@dataclass(frozen=True)
class Cell:
    """text is shown; best: bold; notes: numbers of footnotes; hint: shown when pointed at; tone: ok, bad or quiet."""

    text: str
    best: bool = False
    notes: Sequence[int] = ()
    hint: str = ""
    tone: str = ""


@dataclass
class TableData:
    """Columns, rows of cells, and footnotes numbered from 1. `left` is how many first columns are text."""

    columns: list[str]
    rows: list[list[Cell]]
    left: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JobRow:
    """Jobs shown as one row: one job, or all seeds of one setting."""

    axes: Mapping[str, Any]
    jobs: Sequence[JobResult]


def job_rows(sweep: Sweep) -> list[JobRow]:
    """A row for each job, in order."""
    return [JobRow(j.axes, [j]) for j in sweep.jobs]


def seed_rows(sweep: Sweep) -> list[JobRow]:
    """Jobs that differ only in seeds, together."""
    groups: dict[str, JobRow] = {}
    for job in sweep.jobs:
        axes = {a: job.axes.get(a) for a in sweep.plain_axes}
        groups.setdefault(json.dumps(axes, sort_keys=True), JobRow(axes, [])).jobs.append(job)  # type: ignore[attr-defined]
    return list(groups.values())


def row_score(row: JobRow, metric: str) -> StoredScore | None:
    """The metric of a row; over several seeds the mean and the sample standard deviation (n - 1)."""
    found = [j.scores[metric] for j in row.jobs if metric in j.scores]
    if len(row.jobs) == 1 or not found:
        return found[0] if found else None
    values = [s.value for s in found]
    # equal values come from one shared stage: there is no spread to speak of
    spread = statistics.stdev(values) if len(set(values)) > 1 else None
    notes = tuple(dict.fromkeys(n for s in found for n in s.notes))
    return replace(found[0], value=statistics.fmean(values), std=spread, notes=notes)


def shown_metrics(sweep: Sweep) -> list[str]:
    """Names of the scores that have a column, in order; the others are in report.csv."""
    return [name for name, score in sweep.metrics.items() if score.shown_in != "csv"]


def protocol_text(protocol: Mapping[str, Any]) -> str:
    """A protocol in one spelling, equal for protocols that are equal."""
    return json.dumps(protocol, sort_keys=True, default=str)


def incomparable(sweep: Sweep) -> dict[str, list[str]]:
    """metric -> the protocol fields in which jobs differ. Numbers of such a metric must not be compared."""
    found = {}
    for metric in sweep.metrics:
        if fields := differing([j.scores[metric].protocol for j in sweep.jobs if metric in j.scores]):
            found[metric] = fields
    return found


def differing(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields in which protocols differ."""
    if len({protocol_text(p) for p in protocols}) < 2:
        return []
    names = sorted({n for p in protocols for n in p})
    return [n for n in names if len({protocol_text({n: p.get(n)}) for p in protocols}) > 1]


def _score_column(rows: list[JobRow], metric: str, better: str | None, notes: list[str]) -> list[Cell]:
    """The cells of one metric. better: None where no value is to be marked; notes: footnotes, to which its own go."""
    scores = [row_score(r, metric) for r in rows]
    places = decimals(s.value for s in scores if s)
    best = best_of([s.value if s else None for s in scores], better, places)
    cells = []
    for n, (row, score) in enumerate(zip(rows, scores, strict=True)):
        if score is None:
            finished = [j for j in row.jobs if j.status == "finished"]
            lost = any(j.lost for j in finished)
            hint = f"the job is {row.jobs[0].status}"
            if finished:
                hint = "the job finished, but this score is not in the store" if lost else "not measured in this job"
            cells.append(Cell("missing" if lost else "–", tone="bad" if lost else "quiet", hint=hint))
            continue
        notes.extend(t for t in score.notes if t not in notes)
        text = f"{score.value:.{places}f}" + ("" if score.std is None else f" ± {score.std:.{places}f}")
        cells.append(Cell(text, n in best, sorted(notes.index(t) + 1 for t in score.notes), repr(score.value)))
    return cells


def _seeds(row: JobRow) -> Cell:
    """How many seeds of a setting were measured; jobs that share all stages are one result, whatever their seeds."""
    measured = len({json.dumps(j.stages, sort_keys=True) for j in row.jobs if j.scores})
    same = measured < sum(bool(j.scores) for j in row.jobs)
    hint = "jobs that differ in their seeds alone share all stages here: their seed decides nothing" if same else ""
    return Cell(f"{measured} of {len(row.jobs)}", hint=hint)


def results(sweep: Sweep, by_seed: bool = False) -> TableData:
    """Jobs × metrics, with only the axes that vary; with `by_seed`, one row a setting: mean ± spread over seeds."""
    rows, axes = (seed_rows(sweep), sweep.plain_axes) if by_seed else (job_rows(sweep), list(sweep.axes))
    metrics, notes, bad = shown_metrics(sweep), list[str](), incomparable(sweep)
    first = [
        [Cell(show_value(r.axes.get(a))) for a in axes] or [Cell("all seeds" if by_seed else r.jobs[0].name)]
        for r in rows
    ]
    one_data_set = not any(a == "data" or a.startswith("data.") for a in axes)  # no best among scores of different data
    better = {m: sweep.metrics[m].better if one_data_set and m not in bad else None for m in metrics}
    columns = [_score_column(rows, m, better[m], notes) for m in metrics]
    all_done = all(j.status == "finished" for j in sweep.jobs)
    body = []
    for n, row in enumerate(rows):
        states = sorted({j.status for j in row.jobs})
        status = [] if all_done else [Cell(", ".join(states), tone="ok" if states == ["finished"] else "bad")]
        if by_seed:
            end = _seeds(row)
        else:
            cost = sweep.job_seconds(row.jobs[0])
            end = Cell("–") if cost is None else Cell(seconds(cost), hint=f"{cost:.1f} s")
        body.append([*first[n], *status, *(c[n] for c in columns), end])
    names = [*(axes or ["job"]), *([] if all_done else ["status"])]
    end_name = "seeds" if by_seed else "time alone"
    return TableData([*names, *(sweep.metrics[m].title for m in metrics), end_name], body, len(names), notes)


def failures(sweep: Sweep) -> TableData | None:
    """Jobs that did not finish, with the stage and the message; None when all did."""
    rows = []
    for job in sweep.jobs:
        if job.status != "finished":
            error = job.error or JobFailure(None, "–", STOPPED, "")
            rows.append(
                [
                    Cell(job.name),
                    Cell(job.status, tone="bad"),
                    Cell(error.stage or "–"),
                    Cell(error.kind),
                    Cell(error.message),
                ]
            )
    return TableData(["job", "status", "stage", "kind", "message"], rows, 5) if rows else None


def latents(sweep: Sweep) -> TableData | None:
    """The latents of each first stage: channels before and after normalisation, and the use of codes."""
    rows = []
    for stored in sweep.with_file("histograms.json"):
        raw, quiet = stored.summary, Cell("–", tone="quiet")
        before = [_span(raw.get(name)) for name in ("mean", "deviation")]
        histograms = stored.json("histograms.json")
        outside = sum(histograms["outside"])
        beyond = outside / (outside + sum(map(sum, histograms["counts"])))
        used, perplexity = quiet, quiet
        if histograms["codes"] is not None:
            counts = histograms["codes"]
            entropy = -sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts if n)
            used = Cell(f"{sum(n > 0 for n in counts)} of {len(counts)}")
            perplexity = Cell(f"{math.exp(entropy):.1f}")
        after = [_span(histograms[name]) for name in ("mean", "std")]
        rows.append([Cell(sweep.label(stored.key)), *before, *after, Cell(f"{beyond:.2%}"), used, perplexity])
    about = [f"{name}, {when}" for when in ("raw", "normalised") for name in ("mean", "std")]
    columns = ["latents", *about, "beyond ±6", "codes in use", "perplexity"]
    return TableData(columns, rows, 1) if rows else None


def _span(values: Sequence[float] | None) -> Cell:
    """One value a channel; of more than four channels the least and the greatest."""
    if values is None:
        return Cell("–", tone="quiet")
    texts = [f"{v:.3g}" if abs(v) >= 5e-4 else "0" for v in values]
    if len(texts) <= 4:
        return Cell(", ".join(texts))
    return Cell(f"{min(values):.3g} … {max(values):.3g}", hint=", ".join(texts))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted names."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    out: dict[str, Any] = {}
    for name, inner in value.items():
        out.update(flatten(inner, f"{prefix}.{name}" if prefix else str(name)))
    return out


def short(value: Any) -> Cell:
    """A value as one cell: long digests are cut, with the whole text as the hint."""
    text = show_value(value) if value is not None else "–"
    digest = len(text) > 20 and set(text) <= set("0123456789abcdef")
    limit, kept = (20, 12) if digest else (60, 58)
    return Cell(text if len(text) <= limit else f"{text[:kept]}…", hint=text if len(text) > limit else "")


def protocols(sweep: Sweep) -> TableData | None:
    """Each distinct protocol once, as a column; fields are rows."""
    users: dict[str, list[str]] = {}
    fields: dict[str, dict[str, Any]] = {}
    for metric in sweep.metrics:
        for job in sweep.jobs:
            if metric in job.scores:
                text = protocol_text(job.scores[metric].protocol)
                fields[text] = flatten(job.scores[metric].protocol)
                score = job.scores[metric]
                label = sweep.metrics.get(score.beside or "", score).label
                if label not in users.setdefault(text, []):
                    users[text].append(label)
    names = list(dict.fromkeys(n for f in fields.values() for n in f))
    if not names:
        return None
    rows = [[Cell(n), *(short(f[n]) if n in f else Cell("·", tone="quiet") for f in fields.values())] for n in names]
    return TableData(["protocol of", *(", ".join(u) for u in users.values())], rows, 1 + len(users))


def csv_text(sweep: Sweep) -> str:
    """One row a job: index, name, status, axes, every metric with its own spread, seconds. Numbers in full."""
    out = io.StringIO()
    metrics = list(sweep.metrics)
    spread = [m for m in metrics if any(m in j.scores and j.scores[m].std is not None for j in sweep.jobs)]
    writer = csv.writer(out, lineterminator="\n")
    names = [*sweep.axes, *metrics, *(f"{m}_std" for m in spread)]
    writer.writerow(["index", "name", "status", *map(for_csv, names), "seconds"])
    for job in sweep.jobs:
        axes = ["" if job.axes.get(a) is None else for_csv(show_value(job.axes[a])) for a in sweep.axes]
        values = [repr(job.scores[m].value) if m in job.scores else "" for m in metrics]
        stds = [repr(s.std) if (s := job.scores.get(m)) and s.std is not None else "" for m in spread]
        cost = sweep.job_seconds(job)
        seconds_ = "" if cost is None else f"{cost:.3f}"
        writer.writerow([job.index, for_csv(job.name), job.status, *axes, *values, *stds, seconds_])
    return out.getvalue()
