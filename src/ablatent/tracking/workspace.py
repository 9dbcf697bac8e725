"""A W&B workspace for a sweep, as JSON on disk: parallel coordinates, curves, sample panels. Needs no login."""

import importlib.util
from pathlib import Path

from ablatent.core.files import write_atomic
from ablatent.tracking.base import SweepOverview, flat_axes


def write_workspace(overview: SweepOverview, folder: Path, project: str, entity: str | None) -> Path | None:
    """workspace.json in the folder; None where wandb-workspaces is not installed.

    The file is the view that W&B stores for a workspace: its runs are those of the sweep's group.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        return None
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    axes = [(axis, next(iter(flat_axes({axis: None})))) for axis in overview.axes]
    columns = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(flat), display_name=a) for a, flat in axes]
    for metric in sorted(overview.metrics, key=lambda m: "fid" not in m.name):
        column = panels.ParallelCoordinatesPlotColumn(
            metric=panels.SummaryMetric(metric.name), display_name=metric.label, inverted=metric.better == "lower"
        )
        columns.append(column)
    bars = [panels.BarPlot(metrics=[panels.SummaryMetric(m.name)], title=m.title) for m in overview.metrics]
    lines = [panels.LinePlot(x="Step", y=[name], title=name) for name in overview.curves]
    media = [panels.MediaBrowser(media_keys=[name], title=name) for name in overview.panels]
    workspace = ws.Workspace(
        entity=entity or "",
        project=project,
        name=f"sweep {overview.sweep}",
        sections=[
            ws.Section(
                "Axes and scores", panels=[panels.ParallelCoordinatesPlot(columns=columns), *bars], is_open=True
            ),
            ws.Section("Samples and reconstructions", panels=[*media], is_open=True),
            ws.Section("Curves", panels=[*lines], is_open=True),
        ],
        runset_settings=ws.RunsetSettings(filters=[ws.Metric("Group") == overview.sweep]),
    )
    path = folder / "workspace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2).encode())
    return path
