"""The sentences below a table of results."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablatent.report import tables
from ablatent.report.model import Sweep
from ablatent.report.spreads import KINDS, spreads_of
from ablatent.stages.options import needs_of

SPREADS = {
    "trainings": "± trainings is the sample deviation over distinct trainings, sets of samples of each averaged first",
    "sets": "± samples is the deviation over sets of samples of one training",
    "samples": "± samples is half of the 95 % interval over the samples of one training",
    "metric": "± metric is that of the metric itself, over its subsets or splits of the same images",
}
"""What each spread is; "sets": over samples, where a training has several sets of them."""


def remarks(sweep: Sweep, by_seed: bool) -> list[str]:
    """What a reader of the table of results must know. by_seed: whether it has a row for all seeds of a setting."""
    shown = tables.shown_metrics(sweep)
    found = _spread_remarks(sweep, shown, by_seed)
    found += dict.fromkeys(sweep.metrics[m].remark for m in shown if sweep.metrics[m].remark)
    if len(shown) < len(sweep.metrics):
        found.append("The baselines of the other metrics are in report.csv.")
    if any(
        any(m.endswith("_baseline") for m in j.scores) and _shows_images(j.config.get("conditioner"))
        for j in sweep.jobs
    ):
        found.append("Samples that are conditioned on parts of validation images look like these: their FID flatters.")
    return found + _average_remarks(sweep)


def _average_remarks(sweep: Sweep) -> list[str]:
    """How near averages that were put together from kept ones come to their widths: the largest of each."""
    largest: dict[float, float] = {}
    for stored in [o for o in sweep.readable if o.config.get("ema_width") is not None]:
        if (residual := stored.summary.get("ema_residual")) is not None:
            width = stored.config["ema_width"]
            largest[width] = max(residual, largest.get(width, 0.0))
    texts = ", ".join(f"{residual:.1%} ({width:g})" for width, residual in sorted(largest.items()))
    return [f"Averages of samples.ema_width: their profiles differ from those widths by {texts}."] if texts else []


def _spread_remarks(sweep: Sweep, metrics: Sequence[str], by_seed: bool) -> list[str]:
    """What each column of spreads is, and of which scores."""
    over: dict[str, dict[str, None]] = {}
    for row in tables.seed_rows(sweep) if by_seed else tables.job_rows(sweep):
        for metric in (m for m in metrics if sweep.metrics[m].beside is None):
            if (found := spreads_of(sweep, row.jobs, metric)) is not None:
                kinds = [kind for kind in KINDS if found.over(kind) is not None]
                for kind in ["sets" if kind == "samples" and found.of_sets else kind for kind in kinds]:
                    over.setdefault(kind, {})[sweep.metrics[metric].label] = None
    return [f"{SPREADS[kind]} ({', '.join(over[kind])})." for kind in SPREADS if kind in over]


def _shows_images(conditioner: Any) -> bool:
    """Whether a conditioner node, or a part of it, hands pixels of images over."""
    return isinstance(conditioner, Mapping) and "pixels" in needs_of(conditioner)


def warnings(sweep: Sweep) -> list[str]:
    """One sentence for all metrics that differ in the same fields of their protocols."""
    alike: dict[str, list[str]] = {}
    for metric, fields in tables.incomparable(sweep).items():
        alike.setdefault(", ".join(fields), []).append(sweep.metrics[metric].label)
    return [
        f"{', '.join(labels)}: jobs were measured by different protocols ({fields} differ). Compare only jobs that "
        "agree in that; none is marked as best."
        for fields, labels in alike.items()
    ]
