"""Write the report of a sweep from the store alone, whatever failed."""

from dataclasses import dataclass
from pathlib import Path

from ablatent.core.disk import full_disk_named
from ablatent.core.errors import ConfigError
from ablatent.core.files import write_atomic, write_json
from ablatent.report import html, markdown, page
from ablatent.report.csv_files import jobs_csv, settings_csv
from ablatent.report.drawn import FORMATS, Drawn, earlier_figures
from ablatent.report.latex import latex_table
from ablatent.report.load import load_sweep
from ablatent.report.model import Sweep
from ablatent.report.place import HTML, check_out
from ablatent.report.verdicts import as_json

VERDICTS, SETTINGS = "verdicts.json", "settings.csv"
SAFE = "What was built and measured is in the store: do=report writes the report again, out=FOLDER to another disk."


@dataclass(frozen=True)
class ReportPaths:
    """What was written; problems is what could not be read or drawn, as sentences."""

    folder: Path
    html: Path
    markdown: Path
    csv: Path
    figures: list[Path]
    problems: list[str]


def write_report(store_root: Path, sweep_id: str, out: Path | None = None, record: Path | None = None) -> ReportPaths:
    """report.html, report.md, report.csv, results.tex and figures (PNG, SVG, PDF); of a sweep with claims
    verdicts.json, with seeds settings.csv.

    They go into STORE/sweeps/ID/report, or into the folder `out`. record: see `load_sweep`. Raises ConfigError:
    `sweep`, when the store holds no readable plan of that name; `out`, for a folder with something else, and for one
    that cannot be written. Raises DiskFull for want of space. What is missing or damaged in the store is no error: the
    report says so in its place.
    """
    sweep = load_sweep(Path(store_root), sweep_id, record)
    folder = sweep.folder / "report" if out is None else out
    if out is not None:
        check_out(out)
    try:
        return _write(sweep, folder, Drawn([folder / "figures", *earlier_figures(Path(store_root))]))
    except OSError as error:
        do = f"{error.strerror}: {error.filename}. Choose another by out=FOLDER."
        raise ConfigError("out", "a folder for the report that can be written", str(folder), do) from None


def _write(sweep: Sweep, folder: Path, drawn: Drawn) -> ReportPaths:
    with full_disk_named(folder, SAFE):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "report.csv", jobs_csv(sweep).encode())
        if sweep.seed_axes:
            write_atomic(folder / SETTINGS, settings_csv(sweep).encode())
        gathered = page.gather(sweep, drawn)
        if sweep.claims:
            write_json(folder / VERDICTS, as_json(gathered.verdicts))
        for name in FORMATS:  # figures of an earlier report of this sweep
            for old in (folder / "figures").glob(f"*.{name}"):
                old.unlink()
        figures = page.write_figures(gathered, folder / "figures", drawn)
        write_atomic(folder / "results.tex", latex_table(gathered.main).encode())
        write_atomic(folder / "report.md", markdown.render(gathered).encode())
        write_atomic(folder / HTML, html.render(gathered).encode())
    return ReportPaths(folder, folder / HTML, folder / "report.md", folder / "report.csv", figures, gathered.problems)
