"""A W&B workspace for a sweep: parallel coordinates, curves, sample panels. Needs no login until it is sent."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablatent.core.files import write_atomic
from ablatent.tracking.base import flat_axes
from ablatent.tracking.overview import MetricView, SweepOverview
from ablatent.tracking.run_links import run_id

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2 import interface


def write_workspace(overview: SweepOverview, folder: Path, project: str, entity: str | None) -> Path | None:
    """workspace.json in the folder; None where wandb-workspaces is not installed.

    The file is the view that W&B stores for a workspace: its runs are those of the sweep.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        return None
    workspace = workspace_of(overview, project, entity or "")
    path = folder / "workspace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2).encode())
    return path


def workspace_of(overview: SweepOverview, project: str, entity: str) -> "ws.Workspace":
    """The workspace of a sweep. entity: empty where it is not known yet."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"sweep {overview.sweep}",
        sections=[ws.Section(name, panels=shown, is_open=True) for name, shown in sections_of(overview)],
        runset_settings=ws.RunsetSettings(filters=runs_of(overview)),
    )


def view_id(sweep: str) -> str:
    """11 hex digits that name the view of a sweep in its URL (`?nw=…`): publishing again finds the same view."""
    return run_id("workspace", sweep)[:11]


def runs_of(overview: SweepOverview) -> "list[expr.FilterExpr] | expr.Or":
    """The filter of the sweep's runs: its group, and its trainings that an earlier sweep built."""
    from wandb_workspaces import expr

    own = expr.Metric("Group") == overview.sweep
    return expr.Or(own, expr.Metric("ID").isin(list(overview.other_runs))) if overview.other_runs else [own]


def config_name(axis: str) -> str:
    """The name of an axis in the configurations of runs."""
    return next(iter(flat_axes({axis: None})))


def sections_of(overview: SweepOverview) -> "list[tuple[str, list[interface.PanelTypes]]]":
    """(title, panels) in order: each call makes new panels, since a grid gives those that it takes their places."""
    import wandb_workspaces.reports.v2 as panels

    metrics = sorted(overview.metrics, key=lambda m: "fid" not in m.name)
    bars = [panels.BarPlot(metrics=[panels.SummaryMetric(m.name)], title=m.title) for m in overview.metrics]
    media = [panels.MediaBrowser(media_keys=[name], title=name) for name in overview.panels]
    lines = [line for name in overview.curves for line in _lines(name, overview.curve_axes.get(name, ()))]
    shown: list[tuple[str, list[interface.PanelTypes]]] = [
        ("Axes and scores", [_coordinates(overview, metrics), *bars]),
        (
            "Costs and scores",
            [_scatter(cost, m) for cost, of in overview.costs.items() for m in metrics if m.name in of],
        ),
        ("Samples and reconstructions", [*media]),
        ("Curves", [*lines]),
    ]
    return [(name, some) for name, some in shown if some]


def _coordinates(overview: SweepOverview, metrics: Sequence[MetricView]) -> "interface.ParallelCoordinatesPlot":
    import wandb_workspaces.reports.v2 as panels

    column = panels.ParallelCoordinatesPlotColumn
    columns = [column(metric=panels.Config(config_name(axis)), display_name=axis) for axis in overview.axes]
    for metric in metrics:
        inverted = metric.better == "lower"
        columns.append(column(metric=panels.SummaryMetric(metric.name), display_name=metric.label, inverted=inverted))
    return panels.ParallelCoordinatesPlot(columns=columns)


def _scatter(cost: str, metric: MetricView) -> "interface.ScatterPlot":
    import wandb_workspaces.reports.v2 as panels

    x, y = panels.Config(cost), panels.SummaryMetric(metric.name)
    return panels.ScatterPlot(x=x, y=y, title=f"{metric.title} by {cost}", log_x=True)


def _lines(curve: str, axes: Sequence[str]) -> "list[interface.LinePlot]":
    """A curve, and for each axis that tells trainings apart the same as mean and range of each of its values."""
    import wandb_workspaces.reports.v2 as panels

    grouped = [
        panels.LinePlot(
            x="Step",
            y=[curve],
            title=f"{curve} by {axis}",
            groupby=panels.Config(config_name(axis)),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for axis in axes
    ]
    return [panels.LinePlot(x="Step", y=[curve], title=curve), *grouped]
