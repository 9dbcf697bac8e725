"""Write the report of a sweep from the store alone, whatever failed."""

from dataclasses import dataclass
from pathlib import Path

from ablatent.core.files import write_atomic
from ablatent.report import html, markdown, page, tables
from ablatent.report.load import load_sweep


@dataclass(frozen=True)
class ReportPaths:
    """What was written; problems is what could not be read or drawn, as sentences."""

    folder: Path
    html: Path
    markdown: Path
    csv: Path
    figures: list[Path]
    problems: list[str]


def write_report(store_root: Path, sweep_id: str) -> ReportPaths:
    """report.html, report.md, report.csv and figures/*.png into STORE/sweeps/ID/report.

    Raises ConfigError (key "sweep") when the store holds no readable plan of that name, and nothing else for what is
    missing or damaged in the store: the report says so in its place.
    """
    sweep = load_sweep(Path(store_root), sweep_id)
    folder = sweep.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "report.csv", tables.csv_text(sweep).encode())
    gathered = page.gather(sweep)
    for old in (folder / "figures").glob("*.png"):  # figures of an earlier report of this sweep
        old.unlink()
    figures = page.write_figures(gathered, folder / "figures")
    write_atomic(folder / "report.md", markdown.render(gathered).encode())
    write_atomic(folder / "report.html", html.render(gathered).encode())
    return ReportPaths(
        folder, folder / "report.html", folder / "report.md", folder / "report.csv", figures, gathered.problems
    )
