"""Verdicts in a report, from a store alone: first in every format, and in verdicts.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_store import build, sealed

from ablatent.report.drawn import Drawn
from ablatent.report.finish import finish
from ablatent.report.forest import forest, forest_figure
from ablatent.report.load import load_sweep
from ablatent.report.terminal import verdict_lines
from ablatent.report.verdict_text import claimed_text, remarks, table
from ablatent.report.verdicts import Verdicts, as_json, verdicts_of
from ablatent.report.write import ReportPaths, write_report
from ablatent.store.layout import PLAN
from claim_nodes import claim
from hostile import HOSTILE, Elements

pytestmark = pytest.mark.slow

AXES = {"first_stage": ["kl", "vq"], "sampler.steps": ["20", "50"], "seed": ["0", "1", "2"]}


def claims() -> dict[str, Any]:
    """worse agrees; cost stands on one first stage; nobody has no jobs; typo no score."""
    same = {"of": {"sampler.steps": 50}, "against": {"sampler.steps": 20}, "expect": "equal", "margin": 1.0}
    return {
        "worse": {**claim(expect="higher", margin=0.1), "id": "A"},
        "steps": claim(**same),
        "cost": claim(metric="psnr", expect="equal", margin=0.05, scale="ratio"),
        "nobody": claim(of={"first_stage": "identity"}),
        "typo": claim(metric="fid_193"),
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, ReportPaths]:
    root = tmp_path_factory.mktemp("claims")
    sweep = build(root, AXES, failed=11, claims=claims())
    return root, sweep, write_report(root, sweep)


def found(written: tuple[Path, str, ReportPaths]) -> Verdicts:
    return verdicts_of(load_sweep(*written[:2]))


def test_verdicts_follow_from_the_store(written: tuple[Path, str, ReportPaths]) -> None:
    verdicts = found(written)
    assert {c.name: c.verdict for c in verdicts.claims} == {
        **{"worse": "agree", "steps": "agree", "cost": "inconclusive"},
        **{"nobody": "not tested", "typo": "not tested"},
    }
    assert verdicts.questions == 5 and verdicts.confidence == pytest.approx(0.99)
    worse, cost, typo = (
        next(c.contrasts[0] for c in verdicts.claims if c.name == name) for name in ("worse", "cost", "typo")
    )
    assert worse.effect == pytest.approx(0.4, abs=0.01) and worse.test == "paired t" and worse.replicates == (3, 3)
    assert worse.trainings == ({"first_stage": 1, "diffusion": 3}, {"first_stage": 1, "diffusion": 3})
    assert any("seed=2 (failed)" in note for note in worse.notes)
    assert any("stand on 1 first_stage" in note for note in worse.notes)
    assert cost.unit == "first_stage" and cost.replicates == (1, 1) and "1 first_stage training" in cost.reason
    assert "no job has the score fid_193. Did you mean 'fid_192'?" in typo.reason


def test_verdicts_stand_first_in_the_report(written: tuple[Path, str, ReportPaths]) -> None:
    _, _, paths = written
    assert paths.problems == []
    text, page = paths.markdown.read_text(), paths.html.read_text()
    assert 0 < text.index("## Claims") < text.index("## Results")
    assert 0 < page.index('<h2 id="claims">') < page.index('<h2 id="results">')
    assert "**A worse: agree.** VQ is better." in text and "<b>Agree.</b> VQ is better." in page
    assert "Refuted by: KL is." in text and "Refuted by: KL is." in page
    assert "![Effects with their intervals" in text and "verdicts.png" in {p.name for p in paths.figures}
    shown = table(found(written))
    assert shown is not None
    row = next(row for row in shown.rows if row[0].text == "A worse")
    assert [cell.text for cell in row][1:6] == ["agree", "x: fid_192", "agree", "> 0.1", "+0.401"]
    assert shown.columns[6] == "99 % interval"


def test_the_json_is_plain_and_the_same_from_the_store(written: tuple[Path, str, ReportPaths]) -> None:
    _, _, paths = written
    saved = json.loads((paths.folder / "verdicts.json").read_text())
    assert saved == json.loads(json.dumps(as_json(found(written))))
    about = saved["claims"]["worse"]["contrasts"]["x"]
    assert about["verdict"] == "agree" and about["interval"][0] > 0.1 and about["test"] == "paired t"
    assert about["trainings"]["of"] == {"diffusion": 3, "first_stage": 1} and about["enough"] is None
    assert saved["claims"]["nobody"]["verdict"] == "not tested"


def test_a_line_a_claim_ends_the_command(
    written: tuple[Path, str, ReportPaths], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, sweep, _ = written
    lines = verdict_lines(root, sweep)
    assert len(lines) == 5
    line = next(line for line in lines if line.startswith("claim A worse"))
    assert line.startswith("claim A worse: agree (fid_192 +0.401, 99 % [") and "3 trainings an arm, paired t" in line
    assert "claim nobody: not tested (fid_192, not tested: no job of the sweep has first_stage=identity)" in lines
    finish(root, sweep, out=tmp_path / "out")
    assert "claim A worse: agree" in capsys.readouterr().out


def test_the_forest_shows_what_has_an_interval(written: tuple[Path, str, ReportPaths]) -> None:
    verdicts = found(written)
    (panel,) = forest(verdicts, {"fid_192": "FID"})
    assert panel.title == "FID, difference" and panel.zero == 0.0
    rows = {row.label: row for row in panel.rows}
    assert set(rows) == {"A worse: x", "steps: x"} and rows["A worse: x"].verdict == "agree"
    assert rows["A worse: x"].low < rows["A worse: x"].effect < rows["A worse: x"].high
    assert rows["steps: x"].bounds == (-1.0, 1.0)
    drawing = forest_figure(verdicts, {}, Drawn())
    assert drawing is not None and drawing["png"].startswith(b"\x89PNG")
    assert forest_figure(Verdicts(), {}, Drawn()) is None


def test_a_sweep_without_claims_has_no_section(tmp_path: Path) -> None:
    paths = write_report(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"]}))
    assert "Claims" not in paths.markdown.read_text() and 'id="claims"' not in paths.html.read_text()
    assert not (paths.folder / "verdicts.json").exists() and paths.problems == []


def test_scores_of_other_protocols_test_nothing(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"]}, counts=[192, 64], claims={"a": claim()})
    (verdict,) = verdicts_of(load_sweep(tmp_path, sweep)).claims
    assert verdict.verdict == "not tested" and "different protocols (n_fake)" in verdict.contrasts[0].reason


def test_times_are_compared_by_training_and_on_one_machine(tmp_path: Path) -> None:
    arms = {"of": {"sampler.steps": 5}, "against": {"sampler.steps": 20}}
    faster = claim(metric="seconds_per_image", scale="ratio", margin=1.0, expect="lower", **arms)
    sweep = build(tmp_path, {**AXES, "sampler.steps": ["5", "20"]}, claims={"faster": faster})
    (verdict,) = verdicts_of(load_sweep(tmp_path, sweep)).claims[0].contrasts
    assert (verdict.verdict, verdict.unit, verdict.replicates) == ("agree", "diffusion", (3, 3))
    assert verdict.effect == pytest.approx(0.25, rel=0.02) and verdict.test == "paired t"
    assert "on the machine where it was done" in load_sweep(tmp_path, sweep).metrics["seconds_per_image"].remark
    manifest = next((tmp_path / "objects" / "samples").iterdir()) / "manifest.json"
    about = json.loads(manifest.read_text())
    about["host"]["threads"] = 8
    manifest.write_text(json.dumps(sealed(about)))
    (verdict,) = verdicts_of(load_sweep(tmp_path, sweep)).claims[0].contrasts
    assert verdict.verdict == "not tested" and "different protocols (threads)" in verdict.reason


def test_what_would_settle_a_claim_is_in_its_remarks(tmp_path: Path) -> None:
    about = claim(expect="higher", margin=0.401)
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"], "seed": ["0", "1", "2", "3"]}, claims={"a": about})
    (verdict,) = verdicts_of(load_sweep(tmp_path, sweep)).claims
    (contrast,) = verdict.contrasts
    assert verdict.verdict == "inconclusive" and contrast.interval is not None
    assert contrast.enough is not None and contrast.enough > 4
    assert any(f"{contrast.enough} trainings an arm would settle it" in text for text in remarks(verdict))
    assert f"{contrast.enough} would settle it" in verdict_lines(tmp_path, sweep)[0]


def test_claims_of_a_plan_that_are_none_are_a_problem_and_no_error(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"]}, claims={"a": {"statement": "x"}})
    paths = write_report(tmp_path, sweep)
    assert any(
        "What is claimed cannot be shown" in problem and "claims.a.source" in problem for problem in paths.problems
    )
    assert verdict_lines(tmp_path, sweep) == []
    assert "## Results" in paths.markdown.read_text()


def test_hostile_claims_do_nothing(tmp_path: Path) -> None:
    text = " ".join(HOSTILE)
    about = {**claim(of={text: text}, against={text: "x"}, metric=text), "statement": text, "source": text}
    paths = write_report(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"]}, claims={"a": about}))
    assert paths.problems == []
    shown = Elements(paths.html.read_text())
    assert not [a for tag, a in shown.tags if tag == "img" and not str(a["src"]).startswith("data:")]
    assert {a.get("type") for tag, a in shown.tags if tag == "script"} <= {"application/json", None}


def test_a_plan_without_the_field_is_read(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"]})
    assert "claims" not in json.loads((tmp_path / "sweeps" / sweep / PLAN).read_text())
    assert verdicts_of(load_sweep(tmp_path, sweep)).claims == []


@pytest.mark.parametrize(
    "expect, margin, scale, words",
    [
        ("lower", 0.0, "difference", "< 0"),
        ("lower", 0.1, "difference", "< -0.1"),
        ("higher", 0.1, "difference", "> 0.1"),
        ("equal", 0.1, "difference", "±0.1"),
        ("lower", 0.25, "ratio", "< ×0.8"),
        ("higher", 0.25, "ratio", "> ×1.25"),
        ("equal", 0.25, "ratio", "×0.8 … ×1.25"),
    ],
)
def test_what_is_claimed_is_shown_as_a_bound(expect: str, margin: float, scale: str, words: str) -> None:
    from ablatent.claims.claim import Contrast

    about = claim(expect=expect, margin=margin, scale=scale)["contrasts"]["x"]
    assert claimed_text(Contrast(**about)) == words
