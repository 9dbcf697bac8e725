"""What the interactive charts show, and that nothing in their data can leave it."""

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_store import build

from ablatent.report import charts
from ablatent.report.charts import POINTS
from ablatent.report.load import load_sweep
from ablatent.report.write import write_report
from hostile import HOSTILE, Elements


def chart_of(root: Path, axes: dict[str, list]) -> dict:
    chart = charts.results_chart(load_sweep(root, build(root, axes)))
    assert chart is not None
    return dict(chart.content)


def test_lines_run_along_the_axis_that_changes_the_network_calls(tmp_path: Path) -> None:
    content = chart_of(tmp_path, {"first_stage": ["kl", "vq"], "sampler.steps": ["20", "5"]})
    places = {x["title"]: x for x in content["x"]}
    assert list(places) == ["sampler.steps", "NFE", "GFLOP per image", "seconds per image"]
    assert places["NFE"]["values"] == [20, 5, 20, 5]
    assert places["GFLOP per image"]["values"] == [20, 5, 20, 5]
    assert places["seconds per image"]["values"][1] == pytest.approx(1.5 * 5 / 192, rel=1e-4)
    lines = [{"label": "first_stage=kl", "rows": [1, 0]}, {"label": "first_stage=vq", "rows": [3, 2]}]
    assert all(x["series"] == lines for x in places.values())  # from the lowest place on
    assert content["rows"][3] == "first_stage=vq sampler.steps=5"
    metrics = {y["title"]: y for y in content["y"]}
    assert metrics["FID(quick) ↓"]["values"] == [1.9, 3.1, 2.3, 3.5]
    assert metrics["KID(quick) ↓"]["half"] == [0.0011] * 4 and "own spread" in metrics["KID(quick) ↓"]["bars"]
    assert "KID(quick) of decoded N(0, I)" not in metrics  # the same everywhere


def test_seeds_are_one_point_with_a_bar(tmp_path: Path) -> None:
    content = chart_of(tmp_path, {"sampler.steps": ["5", "20"], "samples.seed": ["0", "1", "2"]})
    fid = next(y for y in content["y"] if y["title"] == "FID(quick) ↓")
    assert fid["values"] == pytest.approx([3.15, 1.95]) and fid["half"] == pytest.approx([0.05, 0.05])
    assert fid["bars"] == "standard deviation over sets of samples"
    assert content["rows"] == ["sampler.steps=5", "sampler.steps=20"]


def test_three_axes_make_a_line_for_each_of_the_others(tmp_path: Path) -> None:
    axes = {"first_stage": ["kl", "vq"], "sampler.steps": ["5", "20"], "guidance.scale": ["1", "2", "4"]}
    content = chart_of(tmp_path, axes)
    places = {x["title"]: [line["label"] for line in x["series"]] for x in content["x"]}
    assert len(places["sampler.steps"]) == 6 and places["NFE"] == places["sampler.steps"]
    assert "first_stage=kl sampler.steps=5" in places["guidance.scale"] and len(places["guidance.scale"]) == 4


def test_points_without_a_score_are_left_out_and_one_job_has_no_chart(tmp_path: Path) -> None:
    sweep = load_sweep(tmp_path, build(tmp_path, {"sampler.steps": ["5", "20", "50"]}, failed=1))
    chart = charts.results_chart(sweep)
    assert chart is not None
    assert [v is None for v in chart.content["y"][0]["values"]] == [False, True, False]
    assert "FID(quick) ↓ lies between 1.66 (sampler.steps 50) and 3.1 (sampler.steps 5)" in chart.alt
    other = tmp_path / "one"
    assert charts.results_chart(load_sweep(other, build(other, {}))) is None


def test_curves_are_means_of_equal_parts(tmp_path: Path) -> None:
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"]}))
    chart = charts.curves_chart(sweep, "diffusion")
    assert chart is not None
    (x,), rows = chart.content["x"], chart.content["rows"]
    assert rows is None and [line["label"] for line in x["series"]] == ["first_stage=kl", "first_stage=vq"]
    loss = next(y for y in chart.content["y"] if y["title"] == "train/loss")
    shown = [loss["values"][row] for row in x["series"][0]["rows"]]
    shown = [v for v in shown if v is not None]
    raw = sweep.of_kind("diffusion")[0].curves()["train/loss"]
    assert len(shown) == POINTS < len(raw)
    assert np.mean(shown) == pytest.approx(raw[:, 1].mean(), rel=1e-4)
    assert x["values"][x["series"][0]["rows"][-1]] == 3000


@pytest.mark.slow
def test_text_in_the_data_stays_data(tmp_path: Path) -> None:
    texts = [*HOSTILE, "</script><script>alert(1)</script>", "<!-- <script>", "\u2028&quot;"]
    sweep = build(tmp_path, {"first_stage": ["kl"], "a": texts, "sampler.steps": ["5", "20"]})
    text = write_report(tmp_path, sweep).html.read_text()
    kinds = [attributes.get("type") for tag, attributes in Elements(text).tags if tag == "script"]
    assert kinds[-1] is None and set(kinds[:-1]) == {"application/json"}
    blocks = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert len(blocks) == len(kinds)
    labels = [line["label"] for line in json.loads(blocks[0])["x"][0]["series"]]
    assert labels == [f"first_stage=kl a={text}" for text in texts]
    assert not set("<>&") & set("".join(blocks[:-1]))
    digest = base64.b64encode(hashlib.sha256(blocks[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # nothing else is run
