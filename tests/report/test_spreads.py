"""Spread over trainings, over samples and of the metric: three columns, and what each holds."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from report_store import TRAININGS, build, sealed

from ablatent.report import remarks, tables
from ablatent.report.csv_files import jobs_csv, settings_csv
from ablatent.report.load import load_sweep
from ablatent.report.model import Sweep
from ablatent.report.spreads import spreads_of


def spread_columns(table: tables.TableData, title: str) -> dict[str, list[str]]:
    """Title → texts, of the columns of spreads that follow the column of a metric."""
    found: dict[str, list[str]] = {}
    for n in range(table.columns.index(title) + 1, len(table.columns)):
        if not table.columns[n].startswith("±"):
            break
        found[table.columns[n]] = [row[n].text for row in table.rows]
    return found


def with_interval(root: Path, sweep: Sweep, metric: str, half: float) -> Sweep:
    """The sweep with an interval over samples in every score of one metric."""
    for job in sweep.jobs:
        folder = root / "objects/scores" / job.stages["scores"]
        content = json.loads((folder / "scores.json").read_text())
        score = content["metrics"][metric]
        score["interval"] = [score["value"] - half, score["value"] + 3 * half]
        data = json.dumps(content).encode()
        (folder / "scores.json").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["scores.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return load_sweep(root, sweep.id)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Two first stages, three trainings of each, two sets of samples of each."""
    axes = {"first_stage": ["kl", "vq"], "seed": ["0", "1", "2"], "samples.seed": ["0", "1"]}
    return load_sweep(tmp_path, build(tmp_path, axes))


def test_trainings_and_samples_are_apart(sweep: Sweep) -> None:
    table = tables.results(sweep, by_seed=True)
    found = spread_columns(table, "FID(quick) ↓")
    means = np.array([1.1 * TRAININGS[s] for s in "012"])  # of KL by 20 steps; VQ's are 1.6 times those of many steps
    spread = [f"{means.std(ddof=1) * factor:.2f}" for factor in (1, 1.6 / 1.1)]
    # the two sets of each training differ by 0.05
    assert found == {"± trainings": spread, "± samples": [f"{0.05 / np.sqrt(2):.2f}"] * 2}
    value = spreads_of(sweep, sweep.jobs[:6], "fid_192")
    assert value is not None and value.count == 3 and value.of_sets and value.interval is None
    assert value.value == pytest.approx(1.5 + 8 / 20 + 0.025 + means.mean())
    assert value.trainings == pytest.approx(means.std(ddof=1)) and value.samples == pytest.approx(0.05 / np.sqrt(2))
    assert set(spread_columns(table, "KID(quick) ↓")) == {"± trainings", "± samples", "± metric"}
    assert spread_columns(table, "PSNR [dB] ↑") == {}, "one reconstruction"
    assert spread_columns(table, "KID(quick) of decoded N(0, I)") == {}, "a yardstick"
    assert [row[table.columns.index("trainings")].text for row in table.rows] == ["3", "3"]
    assert table.rows[0][table.columns.index("trainings")].hint == "1 first_stage, 3 diffusion"


def test_an_unbalanced_sweep_counts_trainings_equally(sweep: Sweep) -> None:
    """A failed job takes a set of samples, no weight of its training."""
    value = spreads_of(sweep, [j for j in sweep.jobs[:6] if j.name != sweep.jobs[1].name], "fid_192")
    assert value is not None
    means = [1.9 + 1.1 * TRAININGS["0"], 1.925 + 1.1 * TRAININGS["1"], 1.925 + 1.1 * TRAININGS["2"]]
    assert value.value == pytest.approx(np.mean(means)) and value.trainings == pytest.approx(np.std(means, ddof=1))


def test_one_set_of_samples_has_the_interval_of_its_score(tmp_path: Path) -> None:
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"], "seed": ["0", "1"]}))
    sweep = with_interval(tmp_path, sweep, "fid_192", 0.1)
    found = spread_columns(tables.results(sweep, by_seed=True), "FID(quick) ↓")
    assert found["± samples"] == ["0.20", "0.20"] and set(found) == {"± trainings", "± samples"}
    alone = tables.results(sweep)
    assert spread_columns(alone, "FID(quick) ↓") == {"± samples": ["0.20"] * 4}
    assert "95 % over samples [1.80, 2.20]" in alone.rows[0][alone.columns.index("FID(quick) ↓")].hint
    rows = list(csv.DictReader(jobs_csv(sweep).splitlines()))
    assert float(rows[0]["fid_192_low"]) == pytest.approx(1.8) and float(rows[0]["fid_192_high"]) == pytest.approx(2.2)
    below = remarks.remarks(sweep, by_seed=True)
    assert any(r.startswith("± trainings") and "FID(quick)" in r for r in below)
    assert any(r.startswith("± samples is half of the 95 % interval") for r in below)
    assert any(r.startswith("± metric") and "KID(quick)" in r for r in below)


def test_a_damaged_interval_is_a_problem_and_no_error(tmp_path: Path) -> None:
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl"]}))
    folder = tmp_path / "objects/scores" / sweep.jobs[0].stages["scores"]
    data = (folder / "scores.json").read_text().replace('"std": null', '"interval": [1], "std": null', 1).encode()
    (folder / "scores.json").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["scores.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    assert any("scores.json" in problem for problem in load_sweep(tmp_path, sweep.id).problems)


def test_settings_have_a_file_of_their_own(sweep: Sweep) -> None:
    rows = list(csv.DictReader(settings_csv(sweep).splitlines()))
    assert [row["first_stage"] for row in rows] == ["kl", "vq"]
    value = spreads_of(sweep, sweep.jobs[:6], "fid_192")
    assert value is not None
    assert float(rows[0]["fid_192"]) == value.value and rows[0]["fid_192_trainings"] == "3"
    assert float(rows[0]["fid_192_over_trainings"]) == value.trainings
    assert float(rows[0]["fid_192_over_samples"]) == value.samples
    assert rows[0]["fid_192_over_metric"] == "" and rows[0]["psnr_trainings"] == "1"
