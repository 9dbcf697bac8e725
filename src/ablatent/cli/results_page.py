"""docs/results.md: what the experiments found, each folder of experiments/results with its verdicts.

python -m ablatent.cli.results_page > docs/results.md
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablatent.cli.claims_page import markdown_table, recorded_claims
from ablatent.core.files import read_json
from ablatent.core.options import conf_folder, read_yaml

HEAD = """# Results

What the experiments of this project found, with a link to the whole report of each: protocols, cost, commit, command. A
verdict is an interval over trainings, set against what the claim says ([verdicts.md](verdicts.md)); it is one on these
data and sizes, not on those of the paper. Effects are of - against, or of / against where the scale is a ratio. Written
by `python -m ablatent.cli.results_page` from `experiments/results`; a test compares.
"""


def page() -> str:
    """The whole page, in Markdown."""
    root = conf_folder().parent
    folders = sorted(p.parent for p in (root / "experiments" / "results").glob("*/report.md"))
    return "\n".join([HEAD, *(line for folder in folders for line in section(root, folder))])


def section(root: Path, folder: Path) -> Iterator[str]:
    """The lines of one experiment. root: the folder with experiments/; folder: of its results."""
    file = root / "experiments" / f"{folder.name}.yaml"
    node = read_yaml(file) if file.is_file() else {}
    yield f"## {node.get('title') or folder.name}\n"
    yield f"{node.get('question') or ''}\n"
    yield f"`python run.py -m experiments={folder.name}`: [report](../experiments/results/{folder.name}/report.md)\n"
    if (folder / "table.md").is_file():
        yield f"[Table](../experiments/results/{folder.name}/table.md)\n"
    file = folder / "verdicts.json"
    claims = recorded_claims(file)
    if not claims:
        yield "It states no claim.\n"
        return
    yield f"Intervals of {read_json(file)['confidence']:.1%}, over trainings.\n"
    lines = [line for name, claim in claims.items() for line in claim_lines(name, claim)]
    yield markdown_table(["", "claim", "verdict", "contrast", "effect", "interval", "trainings", "of it"], lines)


def claim_lines(name: str, claim: Mapping[str, Any]) -> Iterator[list[str]]:
    """The rows of a claim: one a contrast, the claim itself in the first."""
    about = [claim["id"] or "", f"**{name}**: {claim['statement']}", f"**{claim['verdict']}**"]
    for of, contrast in claim["contrasts"].items():
        numbers = [shown(contrast["effect"]), between(contrast["interval"])]
        counts = contrast["replicates"] or {}
        arms = " and ".join(dict.fromkeys(str(counts[arm]) for arm in ("of", "against") if arm in counts))
        yield [*about, f"{of}: {contrast['metric']}", *numbers, arms or "–", contrast["verdict"]]
        about = ["", "", ""]


def shown(value: float | None) -> str:
    """A number with three digits; – for none."""
    return "–" if value is None else f"{value:.3g}"


def between(interval: list[float] | None) -> str:
    """An interval; – for none."""
    return "–" if interval is None else f"[{', '.join(map(shown, interval))}]"


if __name__ == "__main__":
    sys.stdout.write(page())
