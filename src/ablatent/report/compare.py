"""Two sweeps of a store: the settings that both have, metric by metric, with the interval of each difference."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablatent.claims.claim import Contrast
from ablatent.claims.effect import Compared, compared
from ablatent.claims.intervals import LEVEL
from ablatent.claims.observations import Arms, Observation
from ablatent.core.errors import ConfigError
from ablatent.core.targets import TARGET
from ablatent.report.load import load_sweep
from ablatent.report.metrics import decimals
from ablatent.report.model import JobResult, StoredScore, Sweep, show_value
from ablatent.report.spreads import spreads_of
from ablatent.report.tables import Cell, JobRow, TableData, differing, flatten, row_score, short, shown_metrics
from ablatent.report.verdicts import observations

APART = {"title", "question", "out", "do", "verb", "hydra", "tracking", "executor", "store", "runtime"}
"""Keys in which sweeps may differ without another result."""


@dataclass(frozen=True)
class Pair:
    """A setting that both sweeps have, with its jobs in each: one, or all its seeds."""

    setting: str
    rows: tuple[JobRow, JobRow]


@dataclass(frozen=True)
class Difference:
    """Of the second sweep from the first, in one metric.

    value: second less first, the mean over pairs where trainings are paired; half: of its 95 % interval, None where it
    is not known; how: what it comes from; test, degrees: the test over trainings with its degrees of freedom, empty and
    None where there is none.
    """

    pair: Pair
    scores: tuple[StoredScore, StoredScore]
    value: float
    half: float | None
    how: str
    test: str = ""
    degrees: float | None = None


@dataclass
class Comparison:
    """refused: metric → fields of its protocols that differ, so that its numbers are not compared."""

    sweeps: tuple[Sweep, Sweep]
    pairs: list[Pair]
    metrics: dict[str, list[Difference]] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)


def compare(store: Path, ids: Sequence[str]) -> Comparison:
    """Compare two sweeps. Raises ConfigError (`compare`) for other than two known sweeps, without a common setting,
    and where no metric was measured by the same protocol in both."""
    if len(ids) != 2 or len(set(ids)) != 2:
        raise ConfigError("compare", "the ids of two sweeps: compare=[A,B]", list(ids))
    try:
        a, b = (load_sweep(store, text) for text in ids)
    except ConfigError as error:
        raise ConfigError("compare", error.expected, error.got, error.do) from None
    found = Comparison((a, b), pairs(a, b))
    if not found.pairs:
        do = f"{a.id} has {_settings(a)}; {b.id} has {_settings(b)}."
        raise ConfigError("compare", "two sweeps with a setting that both have", list(ids), do)
    for metric in [m for m in shown_metrics(a) if a.metrics[m].beside is None]:
        differences = [d for pair in found.pairs if (d := difference(found.sweeps, pair, metric))]
        fields = sorted({name for d in differences for name in differing([s.protocol for s in d.scores])})
        if fields:
            found.refused[metric] = fields
        elif differences:
            found.metrics[metric] = differences
    if not found.metrics:
        reasons = "; ".join(f"{a.metrics[m].label}: {', '.join(f)} differ" for m, f in found.refused.items())
        do = reasons or "They have no metric in common."
        raise ConfigError("compare", "two sweeps with a metric that both measured by one protocol", list(ids), do)
    return found


def _settings(sweep: Sweep) -> str:
    return ", ".join(f"{a}={','.join(map(show_value, v))}" for a, v in sweep.axes.items()) or "no axes"


def pairs(a: Sweep, b: Sweep) -> list[Pair]:
    """The settings that both have, in the order of the first: jobs agree in all axes of either, seeds apart.

    What a job has on an axis that only the other sweep has is read from its configuration.
    """
    axes = list(dict.fromkeys([*a.plain_axes, *b.plain_axes]))
    mine, others = _by_setting(a, axes), _by_setting(b, axes)
    found = []
    for setting, jobs in mine.items():
        if setting in others:
            rows = (JobRow(jobs[0].axes, jobs), JobRow(others[setting][0].axes, others[setting]))
            label = " ".join(f"{axis}={_shown(axis, jobs[0], others[setting][0])}" for axis in axes)
            found.append(Pair(label or "the only setting", rows))
    return found


def _by_setting(sweep: Sweep, axes: Sequence[str]) -> dict[str, list[JobResult]]:
    found: dict[str, list[JobResult]] = {}
    for job in sweep.jobs:
        values = [_value(job, axis) for axis in axes]
        found.setdefault(json.dumps(values, sort_keys=True, default=str), []).append(job)
    return found


def _value(job: JobResult, axis: str) -> Any:
    """What decides the job on an axis: the node of its configuration; without one the value that was typed."""
    node: Any = job.config
    for part in axis.lstrip("+~").split("."):
        if not isinstance(node, Mapping) or part not in node:
            return job.axes.get(axis)
        node = node[part]
    return node


def _shown(axis: str, *jobs: JobResult) -> str:
    typed = next((job.axes[axis] for job in jobs if axis in job.axes), None)
    value = _value(jobs[0], axis) if typed is None else typed
    if isinstance(value, Mapping) and TARGET in value:
        return str(value[TARGET]).rpartition(".")[2]
    return show_value(value)


def difference(sweeps: tuple[Sweep, Sweep], pair: Pair, metric: str) -> Difference | None:
    """Of one setting in one metric; None where one of the two was not measured.

    The interval: over several trainings in both, that of two arms of a claim (`claims.effect.compared`): of pairs where
    each seed of one sweep is one of the other, else of two independent arms; of single trainings, over their samples,
    the root of the sum of squares of the two halves.
    """
    a, b = (row_score(sweep, row, metric) for sweep, row in zip(sweeps, pair.rows, strict=True))
    if a is None or b is None:
        return None
    plain = Difference(pair, (a, b), b.value - a.value, None, "")
    measured = [[j.scores[metric] for j in row.jobs if metric in j.scores] for row in pair.rows]
    stages = [{score.stage: score.value for score in scores} for scores in measured]  # each stage once
    if stages[0] == stages[1]:
        return replace(plain, how="the same stages in both")
    found = _replicates(sweeps, pair, metric)
    if found.fewest > 1:
        return _over_trainings(plain, found)
    of_a, of_b = (spreads_of(sweep, row.jobs, metric) for sweep, row in zip(sweeps, pair.rows, strict=True))
    trainings = [0 if of is None else of.count for of in (of_a, of_b)]
    if max(trainings) > 1:
        return replace(plain, how=f"{trainings[0]} and {trainings[1]} trainings")
    if a.interval is not None and b.interval is not None:
        halves = [(score.interval[1] - score.interval[0]) / 2 for score in (a, b) if score.interval]
        return replace(plain, half=math.hypot(*halves), how="samples of one training each")
    return replace(plain, how="one training")


def _over_trainings(plain: Difference, found: Compared) -> Difference:
    estimate = found.estimate(LEVEL)
    over = (
        f"{len(found.of)} pairs of seeds" if found.is_paired else f"{len(found.against)} and {len(found.of)} trainings"
    )
    if estimate.constant:
        return replace(plain, value=estimate.effect, how=f"{over} that do not vary")
    half = (estimate.high - estimate.low) / 2
    how = f"{estimate.test}, {over}"
    return replace(plain, value=estimate.effect, half=half, how=how, test=estimate.test, degrees=estimate.degrees)


def _replicates(sweeps: tuple[Sweep, Sweep], pair: Pair, metric: str) -> Compared:
    """The trainings of a setting, the second sweep as the arm that is set against the first."""
    seeds = list(dict.fromkeys(axis for sweep in sweeps for axis in sweep.seed_axes))
    first, second = (_observed(sweep, row.jobs, metric, seeds) for sweep, row in zip(sweeps, pair.rows, strict=True))
    contrast = Contrast(metric=metric, of={}, against={}, expect="equal", margin=0)
    return compared(contrast, Arms(second, first))


def _observed(sweep: Sweep, jobs: Sequence[JobResult], metric: str, seeds: Sequence[str]) -> list[Observation]:
    """These jobs as a claim sees them, distinguished by their seeds alone."""
    mine = {job.index for job in jobs}
    pairs = zip(sweep.jobs, observations(sweep, metric), strict=True)
    return [replace(seen, axes={axis: _value(job, axis) for axis in seeds}) for job, seen in pairs if job.index in mine]


def differences_table(found: Comparison, metric: str) -> TableData:
    """One metric of all common settings; a difference is bold where its interval is beyond zero."""
    differences, about = found.metrics[metric], found.sweeps[0].metrics[metric]
    places = decimals([s.value for d in differences for s in d.scores])
    rows = []
    for d in differences:
        texts = [f"{s.value:.{places}f}" + ("" if s.std is None else f" ± {s.std:.{places}f}") for s in d.scores]
        half = "" if d.half is None else f" ± {d.half:.{places}f}"
        certain = d.half is not None and abs(d.value) > d.half
        tone = ""
        if certain and about.better:
            tone = "ok" if (d.value < 0) == (about.better == "lower") else "bad"
        shown = Cell(f"{d.value:+.{places}f}{half}", best=certain, hint=repr(d.value), tone=tone)
        rows.append([Cell(d.pair.setting), *map(Cell, texts), shown, Cell(d.how, tone="quiet")])
    return TableData(["setting", "A", "B", "B − A", "interval from"], rows)


def settings_table(found: Comparison) -> TableData | None:
    """The values of configuration in which the two differ at the first common setting; None where there are none."""
    configs = []
    for row in found.pairs[0].rows:
        config = {name: value for name, value in row.jobs[0].config.items() if name not in APART}
        configs.append(flatten(config))
    names = [n for n in {**configs[0], **configs[1]} if configs[0].get(n) != configs[1].get(n)]
    rows = [[Cell(n), *(short(c[n]) if n in c else Cell("·", tone="quiet") for c in configs)] for n in names]
    return TableData(["key", "A", "B"], rows, 3) if rows else None
