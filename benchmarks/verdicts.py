"""How often verdicts find what is not there, and what is: simulated experiments through the code that judges a sweep.

python benchmarks/verdicts.py [EXPERIMENTS]

EXPERIMENTS (5,000) of each kind: both arms drawn from one distribution (normal; log-normal, which is skewed; Student's
t with 3 degrees of freedom, which is heavy-tailed), by 3, 5 or 10 trainings an arm, in pairs of equal seeds and in arms
of seeds of their own, also of unequal numbers. A false finding is an interval that excludes no effect (margin 0), with
the upper end of its 95 % interval (Clopper & Pearson 1934); beside it an equality at its very margin, which must not be
agreed with. Power: normal trainings, effects in units of their deviation, beside theory. Each experiment is a
list of scores of jobs, judged by `claims.verdict.contrast_verdict`. Writes benchmarks/results/verdicts.md and .json.
"""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ablatent.claims.claim import Contrast
from ablatent.claims.intervals import LEVEL
from ablatent.claims.observations import Observation, arms_of
from ablatent.claims.power import power_of, trainings_for
from ablatent.claims.verdict import contrast_verdict
from ablatent.core.progress import track
from bench.machine import machine, software

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SEED = 0
MOST = 0.06
"""The share of false findings that the upper bound may not exceed."""
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 1.0),
    "log-normal": (lambda rng, shape: rng.lognormal(0.0, 1.0, shape), math.sqrt(math.e * (math.e - 1))),
    "t, 3 df": (lambda rng, shape: rng.standard_t(3, shape), math.sqrt(3.0)),
}
"""Name → how it is drawn, and its deviation."""
SIZES = [(3, 3, True), (5, 5, True), (10, 10, True), (3, 3, False), (5, 5, False), (10, 10, False)]
SIZES += [(3, 5, False), (3, 10, False), (5, 10, False)]
"""Trainings of both arms, and whether they are pairs of equal seeds."""
EFFECTS = (0.5, 1.0, 2.0)


def jobs_of(of: Sequence[float], against: Sequence[float], paired: bool) -> list[Observation]:
    """The scores of an experiment as jobs of a sweep: each a training of its own, of seeds 0, 1, … of its arm."""
    found = []
    for arm, values in (("of", of), ("against", against)):
        for n, value in enumerate(values):
            seed = n if paired or arm == "of" else 1000 + n
            found.append(
                Observation(
                    name=f"{arm} {n}",
                    axes={"arm": arm, "seed": seed},
                    trainings={"diffusion": f"{arm}-{n}"},
                    unit="diffusion",
                    value=float(value),
                )
            )
    return found


def words(contrast: Contrast, of: np.ndarray, against: np.ndarray, paired: bool) -> Counter[str]:
    """How often each verdict is reached. of, against: a row an experiment, a column a training."""
    return Counter(
        contrast_verdict("x", contrast, arms_of(contrast, jobs_of(a, b, paired)), LEVEL).verdict
        for a, b in zip(of, against, strict=True)
    )


def claimed(expect: str, margin: float = 0.0) -> Contrast:
    """A contrast of the two arms of a simulated experiment."""
    arms: dict[str, Any] = {"of": {"arm": "of"}, "against": {"arm": "against"}}
    return Contrast(metric="x", expect=expect, margin=margin, **arms)  # type: ignore[arg-type]


def share(hits: int, count: int) -> dict[str, float]:
    """A share with the ends of its exact 95 % interval (Clopper & Pearson)."""
    interval = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
    return {"share": hits / count, "low": float(interval.low), "high": float(interval.high)}


def false_findings(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A row for each distribution and size: no effect at all, and an equality at its margin."""
    rows = []
    with track("no effect", len(DISTRIBUTIONS) * len(SIZES), "cases") as bar:
        for name, (draw, deviation) in DISTRIBUTIONS.items():
            for n, m, paired in SIZES:
                of, against = draw(rng, (count, n)), draw(rng, (count, m))
                found = words(claimed("lower"), of, against, paired)
                wrong = found["agree"] + found["disagree"]
                margin = deviation / 2
                equal = words(claimed("equal", margin), of + margin, against, paired)
                rows.append(
                    {
                        "distribution": name,
                        "of": n,
                        "against": m,
                        "paired": paired,
                        "found": share(wrong, count),
                        "agreed": share(found["agree"], count),
                        "equal at its margin": share(equal["agree"], count),
                    }
                )
                bar.advance()
    return rows


def theory(effect: float, n: int, paired: bool) -> float:
    """The power of a two-sided interval of 95 % to lie on the right side of 0: the noncentral t.

    effect: in deviations of one training; of a pair the deviation is √2 times that.
    """
    degrees = n - 1 if paired else 2 * (n - 1)
    return float(stats.nct.sf(stats.t.ppf((1 + LEVEL) / 2, degrees), degrees, effect * math.sqrt(n / 2)))


def powers(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A row for each effect and size: how often an effect that is there is found, and in theory."""
    cases = [(e, n, paired) for paired in (True, False) for e in EFFECTS for n in (3, 5, 10)]
    rows = []
    with track("power", len(cases), "cases") as bar:
        for effect, n, paired in cases:
            of, against = rng.standard_normal((count, n)) - effect, rng.standard_normal((count, n))
            found = words(claimed("lower"), of, against, paired)
            enough = trainings_for(-effect, math.sqrt(2) if paired else 1.0, paired=paired)
            rows.append(
                {
                    "effect": effect,
                    "trainings": n,
                    "paired": paired,
                    "found": share(found["agree"], count),
                    "theory": theory(effect, n, paired),
                    "computed": power_of(n, -math.inf, 0.0, -effect, math.sqrt(2) if paired else 1.0, paired=paired),
                    "wrong": share(found["disagree"], count),
                    "enough": enough,
                }
            )
            bar.advance()
    return rows


def main(count: int = 5000) -> int:
    begun = time.perf_counter()
    rng = np.random.default_rng(SEED)
    result = {"experiments": count, "seed": SEED, "no effect": false_findings(count, rng), "power": powers(count, rng)}
    result |= {"seconds": time.perf_counter() - begun, "machine": machine("cpu"), "software": software(ROOT)}
    write(result)
    worst = max(row["found"]["high"] for row in result["no effect"])
    sys.stdout.write(f"false findings: at most {worst:.2%} (upper bound; {MOST:.0%} allowed)\n")
    return 0 if worst <= MOST else 1


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def percent(found: dict[str, float]) -> str:
    """A share with its interval."""
    return f"{found['share']:.2%} [{found['low']:.2%}, {found['high']:.2%}]"


def write(result: dict[str, Any]) -> None:
    """The record, in benchmarks/results."""
    (RESULTS / "verdicts.json").write_text(json.dumps(result, indent=2) + "\n")
    arms = {True: "pairs", False: "two arms"}
    nothing = [
        [
            row["distribution"],
            str(row["of"]) if row["of"] == row["against"] else f"{row['of']} and {row['against']}",
            arms[row["paired"]],
            percent(row["found"]),
            percent(row["agreed"]),
            percent(row["equal at its margin"]),
        ]
        for row in result["no effect"]
    ]
    there = [
        [
            f"{row['effect']:g}",
            str(row["trainings"]),
            arms[row["paired"]],
            percent(row["found"]),
            f"{row['computed']:.2%}",
            f"{row['theory']:.2%}",
            percent(row["wrong"]),
            str(row["enough"]),
        ]
        for row in result["power"]
    ]
    about, host = result["software"], result["machine"]
    text = f"""# Verdicts on simulated experiments

`python benchmarks/verdicts.py`, {time.strftime("%Y-%m-%d")}, commit {about["commit"]}: {result["experiments"]:,}
experiments a row, seed {result["seed"]}, {result["seconds"]:.0f} s on {host["processor"]}, {host["cores"]} cores.
Shares with their exact 95 % intervals.

## No effect

Both arms are drawn from one distribution, margin 0. Found: agree or disagree, 5 % where the interval holds what it
says; agreed: the claim alone, 2.5 %. Equality: the true effect is the margin (half a deviation), agree is wrong.

{table(["distribution", "trainings an arm", "arms", "found", "agreed", "equality agreed"], nothing)}

## An effect

Normal trainings, the effect in deviations of one training. Computed: the power by which reports say how many trainings
would settle a claim; noncentral t: that of the test with a pooled variance, above Welch's where trainings are few.
Wrong: the opposite was found. Enough: trainings an arm for a power of 80 %, as reports give them.

{table(["effect", "trainings an arm", "arms", "found", "computed", "noncentral t", "wrong", "enough"], there)}
"""
    (RESULTS / "verdicts.md").write_text(text)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
