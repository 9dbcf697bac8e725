"""What the pages of docs that are written from results share: tables in Markdown, and the results that are kept."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablatent.core.files import read_json
from ablatent.core.options import conf_folder
from ablatent.report.index import VERDICTS


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with the pipes in its cells escaped, and an empty line after it."""
    lines = [columns, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    head, *rest = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([head, "|" + "---|" * len(columns), *rest, ""])


def results_folder() -> Path:
    """experiments/results, beside conf/: a folder for each result."""
    return conf_folder().parent / "experiments" / "results"


def recorded_claims(folder: Path) -> Mapping[str, Any]:
    """Name of each claim → its verdict and contrasts, of a result's verdicts.json; empty where it has none. Raises
    DataError for one that cannot be read."""
    file = folder / VERDICTS
    found: Mapping[str, Any] = read_json(file)["claims"] if file.is_file() else {}
    return found
