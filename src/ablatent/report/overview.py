"""What a tracker's overview of a sweep shows, gathered from the store."""

import re
from pathlib import Path

from ablatent.report.model import UNREADABLE, Sweep
from ablatent.tracking.overview import MetricView, SweepOverview


def overview_of(sweep: Sweep) -> SweepOverview:
    """Axes, metrics (without baselines), curves and panels of a sweep."""
    plain = {name: score for name, score in sweep.metrics.items() if score.beside is None}
    metrics = [MetricView(name, score.label, score.title, score.better) for name, score in plain.items()]
    return SweepOverview(
        sweep.id, list(sweep.axes), metrics, _curve_names(sweep), [*sweep.figures, *_panel_names(sweep)]
    )


def _curve_names(sweep: Sweep) -> list[str]:
    names: dict[str, None] = {}
    for stored in sweep.objects.values():
        try:
            names.update(dict.fromkeys(stored.curves() if stored.problem is None else ()))
        except UNREADABLE:  # the report names what is damaged; an overview needs only names
            continue
    return list(names)


def _panel_names(sweep: Sweep) -> list[str]:
    """Names of the panels logged while training: panels/NAME-STEP.png in an artifact."""
    files = [f for o in sweep.objects.values() for f in o.files if f.startswith("panels/")]
    return sorted({re.sub(r"[-_]?\d+$", "", Path(f).stem) for f in files} - {""})
