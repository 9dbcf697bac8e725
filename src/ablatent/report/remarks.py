"""The sentences below a table of results."""

from collections.abc import Mapping
from typing import Any

from ablatent.report import tables
from ablatent.report.model import Sweep
from ablatent.stages.options import needs_of


def remarks(sweep: Sweep, by_seed: bool) -> list[str]:
    """What a reader of the table of results must know. by_seed: whether it has a row for all seeds of a setting."""
    found = []
    if by_seed:
        found.append(f"± is the sample standard deviation over seeds ({', '.join(sweep.seed_axes)}).")
    shown = tables.shown_metrics(sweep)
    spreads = {m: [j.scores[m] for j in sweep.jobs if m in j.scores and j.scores[m].std is not None] for m in shown}
    shares = {sweep.metrics[m].label for m, of in spreads.items() if any("spread" in s.protocol for s in of)}
    own = {sweep.metrics[m].label for m, of in spreads.items() if of} - shares
    if shares:
        each = "job by job, " if by_seed else ""
        found.append(f"± of {', '.join(sorted(shares))}: {each}half of the 95 % interval (see the protocols).")
    if own:
        found.append(f"{'Job by job, ' if by_seed else ''}± is the metric's own spread ({', '.join(sorted(own))}).")
    found += dict.fromkeys(sweep.metrics[m].remark for m in shown if sweep.metrics[m].remark)
    if len(shown) < len(sweep.metrics):
        found.append("The baselines of the other metrics are in report.csv.")
    if any(
        any(m.endswith("_baseline") for m in j.scores) and _shows_images(j.config.get("conditioner"))
        for j in sweep.jobs
    ):
        found.append("Samples that are conditioned on parts of validation images look like these: their FID flatters.")
    return found


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
