"""Two sweeps on one page: common settings, differences with intervals, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from report_store import TRAININGS, build
from scipy.stats import ttest_ind, ttest_rel

from ablatent.claims.intervals import unpaired
from ablatent.core.errors import ConfigError
from ablatent.report.compare import Comparison, compare, differences_table, settings_table
from ablatent.report.compare_page import render, write_comparison
from hostile import HOSTILE, Elements

pytestmark = pytest.mark.slow  # each draws and writes whole reports

A, B = "2026-11-22_20-00-00", "2026-11-23_20-00-00"
STEPS = {"sampler.steps": ["5", "20"]}


def two(root: Path, first: dict[str, list], second: dict[str, list], **options: object) -> Comparison:
    build(root, first, sweep=A)
    build(root, second, sweep=B, **options)  # type: ignore[arg-type]
    return compare(root, [A, B])


def test_common_settings_alone_are_compared(tmp_path: Path) -> None:
    axes = {"first_stage": ["kl", "vq"], **STEPS}
    found = two(tmp_path, axes, {"first_stage": ["vq", "kl"], "sampler.steps": ["20", "50"]}, worse=0.5)
    assert [p.setting for p in found.pairs] == ["first_stage=kl sampler.steps=20", "first_stage=vq sampler.steps=20"]
    values = [d.value for d in found.metrics["fid_192"]]
    assert values == pytest.approx([0.5, 0.5])
    table = differences_table(found, "fid_192")
    assert [c.text for c in table.rows[0]][1:4] == ["1.90", "2.40", "+0.50"]
    assert not any(c.best for row in table.rows for c in row)  # nothing tells how sure that is
    assert [d.how for d in found.metrics["psnr"]] == ["the same stages in both"] * 2


def test_an_axis_that_one_sweep_lacks_is_read_from_the_configuration(tmp_path: Path) -> None:
    build(tmp_path, STEPS, sweep=A)
    build(tmp_path, {}, sweep=B, worse=1)
    path = tmp_path / "sweeps" / B / "plan.json"
    plan = json.loads(path.read_text())
    plan["jobs"][0]["config"] |= {"sampler": {"steps": 20}, "optimizer": {"lr": 2e-4}}
    path.write_text(json.dumps(plan))
    found = compare(tmp_path, [A, B])
    assert [p.setting for p in found.pairs] == ["sampler.steps=20"]
    rows = {row[0].text: [c.text for c in row[1:]] for row in settings_table(found).rows}  # type: ignore[union-attr]
    assert rows["optimizer.lr"] == ["·", "0.0002"] and "title" not in rows


def fids(seeds: str, worse: float = 0.0) -> list[float]:
    """FID of these trainings at 5 steps, as the store has it."""
    return [1.5 + 8 / 5 + TRAININGS[s] * (1 + 2 / 5) + worse for s in seeds]


def test_trainings_of_other_seeds_are_two_arms(tmp_path: Path) -> None:
    found = two(tmp_path, {**STEPS, "seed": ["0", "1", "2"]}, {**STEPS, "seed": ["0", "3"]}, worse=3.0)
    (first, _) = found.metrics["fid_192"]
    interval = ttest_ind(fids("03", 3.0), fids("012"), equal_var=False).confidence_interval(0.95)
    assert first.value - first.half == pytest.approx(interval.low)  # type: ignore[operator]
    assert (first.how, first.test) == ("Welch's t, 3 and 2 trainings", "Welch's t")
    cell = differences_table(found, "fid_192").rows[0][3]
    assert cell.best and cell.tone == "bad"


def test_trainings_of_the_same_seeds_are_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first has a seed that the second lacks: it has no partner, and does not count."""
    build(tmp_path, {**STEPS, "seed": ["0", "1", "2", "3"]}, sweep=A)
    others = dict(zip("0123", fids("0123"), strict=True))
    for seed, more in {"0": 0.001, "1": 0.0, "2": -0.002}.items():
        monkeypatch.setitem(TRAININGS, seed, TRAININGS[seed] + more)
    build(tmp_path, {**STEPS, "seed": ["2", "1", "0"]}, sweep=B, worse=0.01)
    found = compare(tmp_path, [A, B])
    (first, _) = found.metrics["fid_192"]
    pairs = ttest_rel(fids("012", 0.01), [others[s] for s in "012"])
    assert first.value == pytest.approx(np.mean(np.subtract(fids("012", 0.01), [others[s] for s in "012"])))
    assert first.value - first.half == pytest.approx(pairs.confidence_interval(0.95).low)  # type: ignore[operator]
    assert (first.how, first.test, first.degrees) == ("paired t, 3 pairs of seeds", "paired t", 2)
    assert differences_table(found, "fid_192").rows[0][3].best  # which arms of their own would not show
    rows = list(csv.DictReader(write_comparison(tmp_path, [A, B])[0].with_name("comparison.csv").open()))
    assert {(r["test"], r["degrees_of_freedom"]) for r in rows if r["metric"] == "fid_192"} == {("paired t", "2.0")}
    assert {r["interval_from"] for r in rows if r["metric"] == "psnr"} == {"the same stages in both"}


def test_chance_alone_is_rarely_beyond_its_interval() -> None:
    rng = np.random.default_rng(0)
    samples = [(rng.normal(0, 1, 4), rng.normal(0, 3, 3)) for _ in range(2000)]
    found = [unpaired(b.tolist(), a.tolist(), 0.95) for a, b in samples]
    inside = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.92 < inside < 0.98  # of unequal variances and few values it is no exact interval


def test_other_protocols_are_refused_by_the_names_of_their_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablatent.report.finish import finish_comparison

    found = two(tmp_path, STEPS, STEPS, counts=[64, 64])
    assert found.refused["fid_192"] == ["n_fake"] and "fid_192" not in found.metrics
    assert "psnr" in found.metrics
    page = render(found)
    assert "Not compared: FID(quick)." in page and "(n_fake differ)" in page
    finish_comparison(tmp_path, [A, B])
    assert "FID(quick) is not compared: its protocols differ in n_fake" in capsys.readouterr().out


def test_mistakes_name_what_was_expected(tmp_path: Path) -> None:
    build(tmp_path, STEPS, sweep=A)
    build(tmp_path, {"sampler.steps": ["50"]}, sweep=B)
    with pytest.raises(ConfigError, match=r"^compare: .*setting that both have.*sampler.steps=50"):
        compare(tmp_path, [A, B])
    with pytest.raises(ConfigError, match=r"^compare: expected the ids of two sweeps"):
        compare(tmp_path, [A, A])
    with pytest.raises(ConfigError, match=r"^compare: .*Did you mean"):
        compare(tmp_path, [A, "2026-11-23_20-00-01"])


def test_the_page_and_its_numbers(tmp_path: Path) -> None:
    two(tmp_path, STEPS, STEPS, worse=0.5)
    path, found = write_comparison(tmp_path, [A, B])
    assert path == tmp_path / "comparisons" / f"{A}-{B}" / "report.html"
    page = Elements(path.read_text())
    images = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    assert images[:2] == ["samples of A: sampler.steps=5", "samples of B: sampler.steps=5"] and len(images) == 4
    assert "starts from the same x_T (seed 0" in page.text
    rows = list(csv.DictReader(path.with_name("comparison.csv").open()))
    assert float(rows[0]["difference"]) == found.metrics["fid_192"][0].value and rows[0]["metric"] == "fid_192"
    first = path.read_bytes()
    assert write_comparison(tmp_path, [A, B], tmp_path / "out")[0].read_bytes() == first


def test_hostile_text_shows_and_does_nothing(tmp_path: Path) -> None:
    axes = {"a/<b>$x$": HOSTILE, "sampler.steps": ["5", "20"]}
    found = two(tmp_path, axes, axes, worse=0.5)
    page = Elements(render(found))
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in page.tags if tag == "img" and not str(a["src"]).startswith("data:image/png;base64,")]
    flat = " ".join(page.text.split())
    assert all(" ".join(text.split()) in flat for text in HOSTILE)
