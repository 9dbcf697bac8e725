"""How many network evaluations a sampler needs to come within 5 % of DDPM with 1,000 steps.

python run.py -m experiments=time_to_quality
python run.py -m experiments=time_to_quality sampler=ddpm sampler.steps=1000
python benchmarks/time_to_quality.py GRID/report.csv REFERENCE/report.csv [--score fd_judge] [--out FILE.md]
python benchmarks/time_to_quality.py GRID/report.csv --against ddim:20

GRID, REFERENCE: the reports of the two commands. For each sampler and number of steps: the score over that of the
reference of the same training, the geometric mean of the trainings, and its 95 % interval by Student's t on the
logarithms (n - 1 degrees of freedom). within: the interval ends at 1.05 or below; not within: it begins above; else it
is open. --against: a cell of the grid in place of the reference. The samplers of the experiment evaluate the network
once a step, so that steps are evaluations (NFE).
"""

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from scipy import stats

from ablatent.core.instantiate import make
from ablatent.samplers.base import Sampler

MARGIN = 1.05
SAMPLERS = Path(__file__).resolve().parents[1] / "conf" / "sampler"


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of ratios of scores and its 95 % interval, both ends; trainings: how many ratios."""

    mean: float
    low: float
    high: float
    trainings: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Ratio":
        """Of at least two ratios, all above 0."""
        logs = [math.log(ratio) for ratio in ratios]
        n, mean = len(logs), math.fsum(logs) / len(logs)
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1) / n)
        half = float(stats.t.ppf(0.975, n - 1)) * spread
        return cls(math.exp(mean), math.exp(mean - half), math.exp(mean + half), n)

    @property
    def verdict(self) -> str:
        """within, not within, or open where the interval holds the margin."""
        if self.high <= MARGIN:
            return "within"
        return "not within" if self.low > MARGIN else "open"


def rows_of(path: Path, score: str) -> list[dict[str, str]]:
    """The finished jobs of a report. Raises SystemExit for reports without seed or score."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "finished"]
    missing = {"seed", score} - set(rows[0] if rows else ())
    if missing:
        raise SystemExit(
            f"{path}: expected finished jobs with the columns seed and {score}; {', '.join(missing)} missing"
        )
    return rows


def ratios_of(grid: Path, reference: Path | tuple[str, int], score: str) -> dict[tuple[str, int], Ratio]:
    """(sampler, steps) → ratio, of those with all trainings of the reference: a report, or a cell of the grid."""
    rows = rows_of(reference if isinstance(reference, Path) else grid, score)
    if not isinstance(reference, Path):
        rows = [row for row in rows if (row["sampler"], int(row["sampler.steps"])) == reference]
    base = {row["seed"]: float(row[score]) for row in rows}
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows_of(grid, score):
        if row["seed"] in base:
            found[row["sampler"], int(row["sampler.steps"])].append(float(row[score]) / base[row["seed"]])
    return {cell: Ratio.of(values) for cell, values in sorted(found.items()) if len(values) == len(base) > 1}


def is_stochastic(sampler: str) -> bool:
    """Whether the sampler of an option, as it comes, draws noise between its steps."""
    node = OmegaConf.load(SAMPLERS / f"{sampler}.yaml")
    node.steps = 10
    return bool(make(OmegaConf.to_container(node), Sampler).stochastic)


def table(ratios: dict[tuple[str, int], Ratio], score: str, reference: str = "DDPM-1000") -> str:
    """Markdown, deterministic and stochastic samplers apart."""
    lines = []
    for title, stochastic in (("Deterministic samplers", False), ("Stochastic samplers", True)):
        cells = {cell: ratio for cell, ratio in ratios.items() if is_stochastic(cell[0]) == stochastic}
        lines += [
            f"### {title}",
            "",
            f"| sampler | NFE | {score} / that of {reference} [95 %] | trainings | within 5 % |",
        ]
        lines += ["|---|---|---|---|---|"]
        for (sampler, steps), r in cells.items():
            interval = f"{r.mean:.3f} [{r.low:.3f}, {r.high:.3f}]"
            lines.append(f"| {sampler} | {steps} | {interval} | {r.trainings} | {r.verdict} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    beside = parser.add_mutually_exclusive_group(required=True)
    beside.add_argument("reference", type=Path, nargs="?")
    beside.add_argument("--against", metavar="SAMPLER:STEPS")
    parser.add_argument("--score", default="fd_judge")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    reference, name = options.reference, "DDPM-1000"
    if options.against is not None:
        sampler, _, steps = options.against.partition(":")
        reference, name = (sampler, int(steps)), f"{sampler} at {steps}"
    text = table(ratios_of(options.grid, reference, options.score), options.score, name)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
