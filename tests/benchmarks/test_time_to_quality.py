"""The table of the time to quality: ratios within a training, intervals over trainings, and what follows from them."""

import csv
import math
from pathlib import Path

import pytest
from scipy import stats

import time_to_quality
from time_to_quality import Ratio


def report(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_interval_is_students_t_on_logarithms():
    ratio = Ratio.of([0.9, 1.0, 1.2])
    logs = [math.log(x) for x in (0.9, 1.0, 1.2)]
    low, high = stats.t.interval(0.95, 2, loc=sum(logs) / 3, scale=stats.sem(logs))
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert ratio.low < ratio.mean < ratio.high and ratio.trainings == 3


@pytest.mark.parametrize(
    "ratios, verdict",
    [([1.0, 1.01, 0.99], "within"), ([1.2, 1.21, 1.19], "not within"), ([0.9, 1.0, 1.2], "open")],
)
def test_verdict(ratios, verdict):
    assert Ratio.of(ratios).verdict == verdict


def test_each_training_is_compared_with_its_own_reference(tmp_path):
    reference = [{"status": "finished", "seed": s, "fd_judge": v} for s, v in enumerate((1.0, 2.0, 4.0))]
    grid = [
        {"status": "finished", "seed": s, "sampler": sampler, "sampler.steps": 10, "fd_judge": v * ratio}
        for sampler, ratio in (("ddim", 1.5), ("ddpm", 3.0))
        for s, v in enumerate((1.0, 2.0, 4.0))
    ]
    grid.append({"status": "failed", "seed": 0, "sampler": "ddim", "sampler.steps": 10, "fd_judge": ""})
    grid.append({"status": "finished", "seed": 0, "sampler": "ddim", "sampler.steps": 20, "fd_judge": 1.0})
    paths = report(tmp_path / "grid.csv", grid), report(tmp_path / "reference.csv", reference)
    ratios = time_to_quality.ratios_of(*paths, "fd_judge")
    assert {cell: r.mean for cell, r in ratios.items()} == pytest.approx({("ddim", 10): 1.5, ("ddpm", 10): 3.0})
    against = time_to_quality.ratios_of(paths[0], ("ddim", 10), "fd_judge")
    assert against["ddpm", 10].mean == pytest.approx(2.0)
    deterministic, stochastic = time_to_quality.table(ratios, "fd_judge").split("### Stochastic")
    assert "| ddim | 10 | 1.500" in deterministic and "| ddpm | 10 | 3.000" in stochastic


def test_a_report_without_the_score_is_refused(tmp_path):
    path = report(tmp_path / "grid.csv", [{"status": "finished", "seed": 0}])
    with pytest.raises(SystemExit, match="fd_judge missing"):
        time_to_quality.rows_of(path, "fd_judge")
