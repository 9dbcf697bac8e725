"""The tables of a report as plain cells, for HTML, Markdown and the terminal alike."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablatent.core.progress import seconds
from ablatent.report.metrics import best_of, decimals
from ablatent.report.model import JobResult, StoredScore, Sweep, show_value
from ablatent.report.spreads import KINDS, spreads_of, trainings_under
from ablatent.stages.replicates import unit_of
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


def row_score(sweep: Sweep, row: JobRow, metric: str) -> StoredScore | None:
    """The metric of a row, with the deviation over its trainings, or where it has one that over its samples, as std."""
    found = spreads_of(sweep, row.jobs, metric)
    if found is None:
        return None
    scores = [j.scores[metric] for j in row.jobs if metric in j.scores]
    spread = found.samples if found.trainings is None else found.trainings
    notes = tuple(dict.fromkeys(n for s in scores for n in s.notes))
    return replace(scores[0], value=found.value, std=spread, notes=notes, interval=found.interval)


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


Column = tuple[str, list[Cell]]
"""Its title and its cells."""


def _score_columns(sweep: Sweep, rows: list[JobRow], metric: str, better: str | None, notes: list[str]) -> list[Column]:
    """The columns of one metric: its values, and each kind of spread that some row has.

    better: None where no value is to be marked; notes: footnotes, to which its own go.
    """
    scores = [row_score(sweep, r, metric) for r in rows]
    spreads = [spreads_of(sweep, r.jobs, metric) for r in rows]
    places = decimals(s.value for s in scores if s)
    best = best_of([s.value if s else None for s in scores], better, places)
    cells = []
    for n, (row, score) in enumerate(zip(rows, scores, strict=True)):
        if score is None:
            cells.append(_absent(row))
            continue
        notes.extend(t for t in score.notes if t not in notes)
        hint = repr(score.value)
        if score.interval is not None:
            hint += f", 95 % over samples [{score.interval[0]:.{places}f}, {score.interval[1]:.{places}f}]"
        cells.append(
            Cell(f"{score.value:.{places}f}", n in best, sorted(notes.index(t) + 1 for t in score.notes), hint)
        )
    about = sweep.metrics[metric]
    columns = [(about.title, cells)]
    for kind in KINDS if about.beside is None else ():  # a yardstick has none here: tables stay narrow
        values = [None if s is None else s.over(kind) for s in spreads]
        if any(v is not None for v in values):
            texts = ["" if v is None else f"{v:.{places}f}" for v in values]
            columns.append((f"± {kind}", [Cell(t, tone="quiet") for t in texts]))
    return columns


def _absent(row: JobRow) -> Cell:
    """In place of a score that a row does not have."""
    finished = [j for j in row.jobs if j.status == "finished"]
    lost = any(j.lost for j in finished)
    hint = f"the job is {row.jobs[0].status}"
    if finished:
        hint = "the job finished, but this score is not in the store" if lost else "not measured in this job"
    return Cell("missing" if lost else "–", tone="bad" if lost else "quiet", hint=hint)


def _seeds(row: JobRow) -> Cell:
    """How many seeds of a setting were measured; jobs that share all stages are one result, whatever their seeds."""
    measured = len({json.dumps(j.stages, sort_keys=True) for j in row.jobs if j.scores})
    same = measured < sum(bool(j.scores) for j in row.jobs)
    hint = "jobs that differ in their seeds alone share all stages here: their seed decides nothing" if same else ""
    return Cell(f"{measured} of {len(row.jobs)}", hint=hint)


def _trainings(sweep: Sweep, row: JobRow) -> Cell:
    """How many distinct trainings of its last trained stage a setting was measured of; by kind where pointed at."""
    found: dict[str, set[str]] = {}
    for job in row.jobs:
        for kind, key in trainings_under(sweep, job, job.stages.values()).items() if job.scores else ():
            found.setdefault(kind, set()).add(key)
    unit = unit_of(dict.fromkeys(found, ""), None)
    return Cell(str(len(found.get(unit, ()))), hint=", ".join(f"{len(keys)} {kind}" for kind, keys in found.items()))


def results(sweep: Sweep, by_seed: bool = False) -> TableData:
    """Jobs × metrics, with only the axes that vary; with `by_seed`, one row a setting: the mean over its trainings.

    Beside each metric its spreads, see `Spreads`: a column for each kind that there is.
    """
    rows, axes = (seed_rows(sweep), sweep.plain_axes) if by_seed else (job_rows(sweep), list(sweep.axes))
    metrics, notes, bad = shown_metrics(sweep), list[str](), incomparable(sweep)
    first = [
        [Cell(show_value(r.axes.get(a))) for a in axes] or [Cell("all seeds" if by_seed else r.jobs[0].name)]
        for r in rows
    ]
    one_data_set = not any(a == "data" or a.startswith("data.") for a in axes)  # no best among scores of different data
    better = {m: sweep.metrics[m].better if one_data_set and m not in bad else None for m in metrics}
    columns = [c for m in metrics for c in _score_columns(sweep, rows, m, better[m], notes)]
    all_done = all(j.status == "finished" for j in sweep.jobs)
    body = []
    for n, row in enumerate(rows):
        states = sorted({j.status for j in row.jobs})
        status = [] if all_done else [Cell(", ".join(states), tone="ok" if states == ["finished"] else "bad")]
        if by_seed:
            end = [_trainings(sweep, row), _seeds(row)]
        else:
            cost = sweep.job_seconds(row.jobs[0])
            end = [Cell("–") if cost is None else Cell(seconds(cost), hint=f"{cost:.1f} s")]
        body.append([*first[n], *status, *(cells[n] for _, cells in columns), *end])
    names = [*(axes or ["job"]), *([] if all_done else ["status"])]
    end_names = ["trainings", "seeds"] if by_seed else ["time alone"]
    return TableData([*names, *(title for title, _ in columns), *end_names], body, len(names), notes)


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
            if metric in job.scores and job.scores[metric].protocol:
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
