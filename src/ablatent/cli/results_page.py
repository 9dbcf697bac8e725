"""docs/results.md: the reports that are kept in experiments/results, each with what it found and at what cost.

python -m ablatent.cli.results_page > docs/results.md
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablatent.cli.generated_page import recorded_claims, results_folder, table
from ablatent.report.index import MARKDOWN, markdown_head
from ablatent.report.verdict_text import number
from ablatent.stages.all_kinds import built_in

HEAD = """# Results

What the experiments of this project found: question and verdict of each, with the whole report, its tables and
figures behind the link. A verdict is an interval over trainings, 95 % for all contrasts of an experiment together, set
against what the claim says ([verdicts.md](verdicts.md)); it is one on these data and sizes, not on those of the paper.
Effects are of - against, or × of / against where the scale is a ratio; what each claim says: [claims.md](claims.md).
Cost is the wall time of all stages, each once, one after the other, on the machine beside it, other programs beside.
Written by `python -m ablatent.cli.results_page` from the reports; a test compares.
"""
COLUMNS = ("experiment", "question", "verdicts", "trainings", "cost", "date", "machine")
TABLE_ROW = re.compile(r"^\| (.+) \|$", re.M)
CREATED = re.compile(r"^Sweep \S+, (\d{4}-\d{2}-\d{2})", re.M)
COST = re.compile(r"^This sweep built for .*?All its stages took (.+?) to build", re.M)
NONE = "–"


@dataclass(frozen=True)
class Result:
    """A report that is kept: the cells of its row, in Markdown. name: of its folder."""

    name: str
    question: str
    verdicts: str
    trainings: str
    cost: str
    date: str
    machine: str

    @property
    def cells(self) -> list[str]:
        """In the order of COLUMNS."""
        link = f"[{self.name}](../experiments/results/{self.name}/{MARKDOWN})"
        return [link, self.question, self.verdicts, self.trainings, self.cost, self.date, self.machine]


def page(folder: Path | None = None) -> str:
    """The whole page, in Markdown. folder: with a folder for each result; None: experiments/results."""
    return "\n".join([HEAD, table(COLUMNS, (result.cells for result in results(folder or results_folder())))])


def results(folder: Path) -> Iterator[Result]:
    """What folder/*/report.md and the verdicts.json beside it say, by name. Raises DataError for verdicts.json that
    cannot be read."""
    for path in sorted(folder.glob(f"*/{MARKDOWN}")):
        text = path.read_text(encoding="utf-8")
        rows = [match[1].split(" | ") for match in TABLE_ROW.finditer(text)]
        yield Result(
            name=path.parent.name,
            question=markdown_head(text).get("question", ""),
            verdicts="<br>".join(_verdicts(recorded_claims(path.parent))) or NONE,
            trainings=", ".join(f"{row[1]} {row[0]}" for row in rows if row[0] in _trained() and row[1].isdigit())
            or NONE,
            cost=_first(COST, text),
            date=_first(CREATED, text),
            machine=_machine(rows),
        )


def _trained() -> set[str]:
    return {kind.name for kind in built_in() if kind.trained}


def _verdicts(claims: Mapping[str, Any]) -> Iterator[str]:
    """A line a claim, then one for each of its contrasts."""
    for name, claim in claims.items():
        title = f"{claim['id']} {name}" if claim["id"] else name
        yield f"**{title}: {claim['verdict']}**"
        for inner, contrast in claim["contrasts"].items():
            yield f"{inner}: {contrast['metric']} {_effect(contrast)}, {contrast['verdict']}"


def _effect(contrast: Mapping[str, Any]) -> str:
    if contrast["effect"] is None:
        return NONE
    effect, interval = contrast["effect"], contrast["interval"]
    shown = f"×{number(effect)}" if contrast["scale"] == "ratio" else f"{effect:+.3g}"
    return shown if interval is None else f"{shown} [{number(interval[0])}, {number(interval[1])}]"


def _machine(rows: list[list[str]]) -> str:
    """Where stages were built, by the table of provenance: 'AMD EPYC (cpu, 1 thread)'."""
    facts: dict[str, list[str]] = {}
    for row in rows:
        if row[0].startswith("host: "):
            facts.setdefault(row[0].removeprefix("host: "), []).append(row[1])
    processor, device, threads = (" or ".join(facts.get(name, [])) for name in ("processor", "device", "threads"))
    more = [text for text in (device, threads and f"{threads} thread{'s' * (threads != '1')}") if text]
    return (processor + (f" ({', '.join(more)})" if more else "")).strip() or NONE


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return NONE if found is None else found[1]


if __name__ == "__main__":
    sys.stdout.write(page())
