"""A W&B workspace for a sweep, as JSON on disk: parallel coordinates, curves, sample panels. Needs no login."""

import importlib.util
import re
from pathlib import Path

from ablatent.core.files import write_atomic
from ablatent.report.model import UNREADABLE, Sweep, load_sweep
from ablatent.tracking.base import flat_axes


def _curve_names(sweep: Sweep) -> list[str]:
    names: dict[str, None] = {}
    for stored in sweep.objects.values():
        try:
            names.update(dict.fromkeys(stored.curves() if stored.problem is None else ()))
        except UNREADABLE:  # the report names what is damaged; a workspace needs only names
            continue
    return list(names)


def _panel_names(sweep: Sweep) -> list[str]:
    """Names of the panels logged while training: panels/NAME-STEP.png in an artifact."""
    files = [f for o in sweep.objects.values() for f in o.files if f.startswith("panels/")]
    return sorted({re.sub(r"[-_]?\d+$", "", Path(f).stem) for f in files} - {""})


def write_workspace(store_root: Path, sweep_id: str, project: str, entity: str | None = None) -> Path | None:
    """workspace.json beside the report; None where wandb-workspaces is not installed.

    The file is the view that W&B stores for a workspace: its runs are those of the sweep's group. Call it after the
    local report was written. Raises ConfigError for an unknown sweep.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        return None
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    sweep = load_sweep(Path(store_root), sweep_id)
    scores = {name: score for name, score in sweep.metrics.items() if score.beside is None}
    axes = [(a, next(iter(flat_axes({a: None})))) for a in sweep.axes]
    columns = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(flat), display_name=a) for a, flat in axes]
    for name, score in scores.items():
        column = panels.ParallelCoordinatesPlotColumn(
            metric=panels.SummaryMetric(name), display_name=score.label, inverted=score.better == "lower"
        )
        columns.append(column)
    bars = [panels.BarPlot(metrics=[panels.SummaryMetric(m)], title=s.title) for m, s in scores.items()]
    lines = [panels.LinePlot(x="Step", y=[name], title=name) for name in _curve_names(sweep)]
    media = [panels.MediaBrowser(media_keys=[name], title=name) for name in ["samples", *_panel_names(sweep)]]
    workspace = ws.Workspace(
        entity=entity or "",
        project=project,
        name=f"sweep {sweep.id}",
        sections=[
            ws.Section(
                "Axes and scores", panels=[panels.ParallelCoordinatesPlot(columns=columns), *bars], is_open=True
            ),
            ws.Section("Samples and reconstructions", panels=[*media], is_open=True),
            ws.Section("Curves", panels=[*lines], is_open=True),
        ],
        runset_settings=ws.RunsetSettings(filters=[ws.Metric("Group") == sweep.id]),
    )
    path = sweep.folder / "report" / "workspace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2).encode())
    return path
