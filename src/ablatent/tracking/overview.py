"""What a tracker shows of a whole sweep, in plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MetricView:
    """One metric in an overview: its name in the runs' summaries, its label and title, and which direction is better
    ("lower", "higher", or None)."""

    name: str
    label: str
    title: str
    better: str | None


@dataclass(frozen=True)
class SweepOverview:
    """What a tracker's overview of a sweep shows: axes, metrics, and the names of curves and of panels of images.

    costs: name in the configurations of jobs of what a sample costs → metrics that depend on it; curve_axes: curve →
    the axes by which the trainings that have it can be grouped; other_runs: ids of runs that belong to it and are in
    the groups of other sweeps.
    """

    sweep: str
    axes: Sequence[str]
    metrics: Sequence[MetricView]
    curves: Sequence[str]
    panels: Sequence[str]
    costs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    curve_axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    other_runs: Sequence[str] = ()
