"""The end of a run or sweep: write the report, the tracker's overview, and print the table."""

from pathlib import Path

from ablatent.core.escape import for_console
from ablatent.core.progress import console, counted
from ablatent.report.compare_page import write_comparison
from ablatent.report.load import load_sweep
from ablatent.report.overview import overview_of
from ablatent.report.terminal import failures_table, final_table, verdict_lines
from ablatent.report.write import ReportPaths, write_report
from ablatent.tracking.base import Tracking


def finish(
    store_root: Path,
    sweep_id: str,
    tracking: Tracking | None = None,
    out: Path | None = None,
    record: Path | None = None,
) -> ReportPaths:
    """Print and write everything of one sweep, with the overview of its tracker where it has one.

    out: the folder of the report, None for the store's; record: see `load_sweep`. Raises ConfigError for an unknown
    sweep and for a folder that cannot be written, DiskFull for want of space; the tables are printed by then. What is
    missing or damaged in the store is printed, and is no error.
    """
    console.print(final_table(store_root, sweep_id, record))
    broken = failures_table(store_root, sweep_id, record)
    if broken is not None:
        console.print(broken)
    for verdict in verdict_lines(store_root, sweep_id, record):
        console.print(for_console(verdict))
    paths = write_report(store_root, sweep_id, out, record)
    for problem in paths.problems:
        console.print(for_console(f"report: {problem}"), style="yellow")
    console.print(for_console(f"report: {paths.html}"))
    if tracking is not None:
        with tracking.shielded():
            sweep = load_sweep(store_root, sweep_id, record)
            line = tracking.write_overview(overview_of(sweep), paths.folder)
            if line is not None:
                console.print(for_console(line))
    return paths


def finish_comparison(store_root: Path, ids: list[str], out: Path | None = None) -> None:
    """Write the comparison of two sweeps, print what it refuses, and where it is. Raises ConfigError: see
    `write_comparison`."""
    path, found = write_comparison(store_root, ids, out)
    for metric, fields in found.refused.items():
        label = found.sweeps[0].metrics[metric].label
        line = f"{label} is not compared: its protocols differ in {', '.join(fields)}"
        console.print(for_console(line), style="yellow")
    settings, metrics = counted(len(found.pairs), "setting"), counted(len(found.metrics), "metric")
    console.print(for_console(f"comparison of {settings} in {metrics}: {path}"))
