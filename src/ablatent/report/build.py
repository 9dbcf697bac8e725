"""The end of a run or sweep: write the report, the W&B workspace where that is tracked, and print the table."""

from pathlib import Path

from ablatent.core.progress import console
from ablatent.report.model import load_sweep
from ablatent.report.terminal import failures_table, final_table
from ablatent.report.workspace import write_workspace
from ablatent.report.write import ReportPaths, write_report


def finish(store_root: Path, sweep_id: str, wandb: bool = False) -> ReportPaths:
    """Write and print everything of one sweep; `wandb` also writes workspace.json for its tracked project.

    Raises ConfigError for an unknown sweep. What is missing or damaged in the store is printed, and is no error.
    """
    paths = write_report(store_root, sweep_id)
    console.print(final_table(store_root, sweep_id))
    broken = failures_table(store_root, sweep_id)
    if broken is not None:
        console.print(broken)
    for problem in paths.problems:
        console.print(f"report: {problem}", style="yellow", markup=False)
    console.print(f"report: {paths.html}", markup=False)
    if wandb:
        jobs = load_sweep(store_root, sweep_id).jobs
        tracking = jobs[0].config.get("tracking", {}) if jobs else {}
        written = write_workspace(store_root, sweep_id, tracking.get("project", "ablatent"), tracking.get("entity"))
        place = "not written, wandb-workspaces is not installed" if written is None else str(written)
        console.print(f"W&B workspace: {place}", markup=False)
    return paths
