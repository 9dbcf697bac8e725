"""The report from the store alone: numbers, images, what it says of damage, and that no network is needed."""

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from report_store import NOTE, build, discs, sealed
from rich.console import Console

from ablatent.core.errors import ConfigError
from ablatent.core.escape import one_line
from ablatent.core.values import axis_value
from ablatent.report import charts, cost, figures, images, metrics, remarks, tables
from ablatent.report.csv_files import jobs_csv
from ablatent.report.finish import finish
from ablatent.report.load import load_sweep
from ablatent.report.overview import overview_of
from ablatent.report.terminal import failures_table, final_table
from ablatent.report.write import ReportPaths, write_report
from ablatent.tracking.base import NoTracking
from ablatent.tracking.wandb_runs import WandbTracking
from ablatent.tracking.workspace import write_workspace
from hostile import HOSTILE, Elements, rendered


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, ReportPaths]:
    """2 first stages × 3 steps; the last job failed."""
    root = tmp_path_factory.mktemp("store")
    sweep = build(root, {"first_stage": ["kl", "vq"], "sampler.steps": ["5", "20", "50"]}, failed=5)
    return root, sweep, write_report(root, sweep)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("seeds")
    return root, build(root, {"first_stage": ["kl", "vq"], "samples.seed": ["0", "1", "2"]}, shape_of_vq=[3, 8, 8])


def text(table: object) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    return console.export_text()


def column(table: tables.TableData, name: str) -> list[tables.Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_files_are_written_and_need_no_network(broken: tuple[Path, str, ReportPaths]) -> None:
    root, sweep, paths = broken
    assert paths.problems == []
    assert paths.html == root / "sweeps" / sweep / "report" / "report.html"
    page = paths.html.read_text()
    links = re.findall(r"(?:src|href)=\"(?!data:image/png;base64,|#)([^\"]*)", page)
    assert links and all((paths.folder / link).is_file() and link.startswith("figures/") for link in links)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).replace("http-equiv", "")
    assert {p.stem for p in paths.figures} == {
        "over-sampler.steps",
        "curves-first_stage",
        "curves-diffusion",
        "reconstructions",
        "latents",
        "samples",
    }
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert all(p.read_bytes().startswith(starts[p.suffix]) for p in paths.figures)
    assert {p.stem for p in paths.figures if p.suffix == ".pdf"} == {
        *("over-sampler.steps", "curves-first_stage", "curves-diffusion", "latents")
    }
    assert "python run.py -m first_stage=kl,vq sampler.steps=5,20,50" in page
    assert "KL or VQ" in page
    assert NOTE.replace("<", "&lt;") in page


def test_text_of_the_store_is_escaped(broken: tuple[Path, str, ReportPaths]) -> None:
    _, _, paths = broken
    page = paths.html.read_text()
    assert "<decoder>" not in page and "&lt;decoder&gt;" in page
    assert "<here>" not in page
    assert "non-finite loss in &lt;decoder&gt; \\| step 40" in paths.markdown.read_text()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """A sweep whose title, question, command, axis, values and error are the texts of test_escape.HOSTILE."""
    root = tmp_path_factory.mktemp("hostile")
    axis = "a/..%2f|<b>$x$"
    sweep = build(root, {axis: HOSTILE, "sampler.steps": ["5", "20"]}, failed=1)
    path = root / "sweeps" / sweep / "plan.json"
    plan = json.loads(path.read_text())
    plan["command"] = f"python run.py {HOSTILE}\n```"
    for job in plan["jobs"]:
        job["config"] |= {"title": " ".join(HOSTILE), "question": HOSTILE[0] + HOSTILE[3]}
    path.write_text(json.dumps(plan))
    record = root / "sweeps" / sweep / "jobs" / "001.json"
    record.write_text(record.read_text().replace("non-finite loss in <decoder>", HOSTILE[0] + HOSTILE[1] + "[/x]"))
    return root, sweep, [one_line(text) for text in HOSTILE]


@pytest.mark.slow
def test_hostile_text_shows_in_every_format_and_does_nothing(
    hostile: tuple[Path, str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, sweep, texts = hostile
    paths = finish(root, sweep)
    printed = " ".join(capsys.readouterr().out.split())
    assert [p for p in paths.problems if "not in the store" not in p] == []
    for shown in (Elements(paths.html.read_text()), rendered(paths.markdown.read_text())):
        assert not [a for tag, a in shown.tags if tag == "img" and not str(a["src"]).startswith(("data:", "figures/"))]
        assert not [a for _, a in shown.tags if any(name.startswith("on") for name in a)]
        assert not {tag for tag, _ in shown.tags} & {"b<", "del"}
        assert {a.get("type") for tag, a in shown.tags if tag == "script"} <= {"application/json", None}
        flat = " ".join(shown.text.split())
        assert all(" ".join(text.split()) in flat.replace("\x1b", "\\x1b").replace("\x07", "\\x07") for text in texts)
    links = [str(a["src"]) for tag, a in rendered(paths.markdown.read_text()).tags if tag == "img"]
    assert links and all((paths.folder / link).is_file() for link in links)
    assert {p.parent for p in paths.figures} == {paths.folder / "figures"}
    cells = [cell for row in csv.reader(paths.csv.open(newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t") and axis_value(cell) == cell]
    assert "[red]" in printed and "[/x]" in printed and "<img src=x" in printed


@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("length", [5, 60, 300])
def test_a_legend_of_eight_lines_lies_inside_its_figure(panels: int, length: int) -> None:
    with figures.grid_of(panels) as (drawn, out):
        for axes in drawn:
            for n in range(8):
                axes.plot([0, 1], [0, n], label=f"{n} " + "guidance=m " * (length // 11))
    image = np.asarray(Image.open(io.BytesIO(out["png"])).convert("L"))
    assert (image[:, :3] == 255).all() and (image[:, -3:] == 255).all()
    assert (image[-2:] == 255).all() and not (image[-30:] == 255).all()


def test_markdown_links_every_figure(broken: tuple[Path, str, ReportPaths]) -> None:
    _, _, paths = broken
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", paths.markdown.read_text()))
    assert linked == {f"figures/{p.name}" for p in paths.figures if p.suffix == ".png"}


def test_csv_holds_full_numbers(broken: tuple[Path, str, ReportPaths]) -> None:
    rows = list(csv.DictReader(broken[2].csv.open()))
    assert [r["status"] for r in rows] == ["finished"] * 5 + ["failed"]
    assert [r["sampler.steps"] for r in rows[:3]] == ["5", "20", "50"]
    assert float(rows[2]["fid_192"]) == 1.5 + 8 / 50
    assert float(rows[0]["kid_192_std"]) == 0.0011
    assert rows[5]["fid_192"] == ""
    assert float(rows[5]["psnr"]) == pytest.approx(23.31)


def test_results_mark_the_best_and_the_missing(broken: tuple[Path, str, ReportPaths]) -> None:
    table = tables.results(load_sweep(*broken[:2]))
    assert table.columns[:4] == ["first_stage", "sampler.steps", "status", "FID(quick) ↓"]
    fid = column(table, "FID(quick) ↓")
    assert [c.text for c in fid] == ["3.10", "1.90", "1.66", "3.50", "2.30", "–"]
    assert [c.best for c in fid] == [False, False, True, False, False, False]
    assert [c.best for c in column(table, "PSNR [dB] ↑")] == [True] * 3 + [False] * 3
    baseline = column(table, "KID(quick) of decoded N(0, I)")
    assert not any(c.best for c in baseline)
    assert table.notes == [NOTE]
    assert fid[0].notes == [1]
    assert column(table, "KID(quick) ↓")[0].text == "0.0283"
    at = table.columns.index("KID(quick) ↓")
    assert table.columns[at + 1] == "± metric" and table.rows[0][at + 1].text == "0.0011"


def test_seeds_become_mean_and_spread(seeds: tuple[Path, str]) -> None:
    table = tables.results(load_sweep(*seeds), by_seed=True)
    fid = column(table, "FID(quick) ↓")
    assert table.columns[0] == "first_stage" and "samples.seed" not in table.columns
    values = [1.9, 1.95, 2.0]
    assert [c.text for c in fid] == [f"{np.mean(values):.2f}", "2.35"]
    at = table.columns.index("FID(quick) ↓")
    assert table.columns[at + 1] == "± samples", "three sets of samples of one training"
    assert [row[at + 1].text for row in table.rows] == [f"{np.std(values, ddof=1):.2f}", "0.05"]
    assert [c.text for c in column(table, "seeds")] == ["3 of 3", "3 of 3"]
    assert [c.text for c in column(table, "trainings")] == ["1", "1"]
    assert column(table, "PSNR [dB] ↑")[0].text == "24.31"  # one shared reconstruction has no spread over seeds


def test_seeds_that_decide_nothing_are_not_counted(tmp_path: Path) -> None:
    """Three jobs with the same stages are one result, not three that happen to agree."""
    name = build(tmp_path, {"first_stage": ["kl", "vq"], "samples.seed": ["0", "1", "2"]})
    plan = tmp_path / "sweeps" / name / "plan.json"
    content = json.loads(plan.read_text())
    for job in content["jobs"][1:3]:
        job["stages"] = content["jobs"][0]["stages"]
    plan.write_text(json.dumps(content))
    for n in (1, 2):
        record = tmp_path / "sweeps" / name / "jobs" / f"{n:03d}.json"
        record.write_text(json.dumps({**json.loads((record.parent / "000.json").read_text()), "index": n}))
    table = tables.results(load_sweep(tmp_path, name), by_seed=True)
    cells = column(table, "seeds")
    assert [c.text for c in cells] == ["1 of 3", "3 of 3"] and "decides nothing" in cells[0].hint
    assert table.rows[0][table.columns.index("FID(quick) ↓") + 1].text == ""


@pytest.mark.slow
def test_different_protocols_are_not_compared(tmp_path: Path) -> None:
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"]}, counts=[192, 64]))
    bad = tables.incomparable(sweep)
    assert bad["fid_192"] == ["n_fake"]
    assert "psnr" not in bad
    table = tables.results(sweep)
    assert not any(c.best for c in column(table, "FID(quick) ↓"))
    assert any(c.best for c in column(table, "PSNR [dB] ↑"))
    page = write_report(tmp_path, sweep.id).html.read_text()
    warnings = [line for line in page.splitlines() if "jobs were measured by different protocols" in line]
    assert len(warnings) == 1 and "FID(quick), " in warnings[0] and "(n_fake differ)" in warnings[0], (
        "one for all of one reason"
    )
    assert len(tables.protocols(sweep).columns) == 1 + 3  # two distinct protocols, each once, and that of times


def test_how_near_averages_come_to_their_widths_is_said(seeds: tuple[Path, str], monkeypatch) -> None:
    sweep = load_sweep(*seeds)
    drawn = [
        SimpleNamespace(config={"ema_width": width}, summary={} if residual is None else {"ema_residual": residual})
        for width, residual in ((0.2, 0.0412), (0.03, 0.001), (0.2, 0.03), (None, None))
    ]
    expected = "Averages of samples.ema_width: their profiles differ from those widths by 0.1% (0.03), 4.1% (0.2)."
    assert not any("ema_width" in line for line in remarks.remarks(sweep, by_seed=True))
    monkeypatch.setattr(type(sweep), "readable", drawn)
    assert expected in remarks.remarks(sweep, by_seed=True)


def test_samples_that_were_shown_images_are_named(seeds: tuple[Path, str]) -> None:
    sweep = load_sweep(*seeds)
    remark = "conditioned on parts of validation images"
    assert not any(remark in line for line in remarks.remarks(sweep, by_seed=False))
    part = {"_target_": "ablatent.conditioning.masked_image.MaskedImage"}
    sweep.jobs[0] = replace(sweep.jobs[0], config={"conditioner": {"parts": {"image": part}}})
    assert any(remark in line for line in remarks.remarks(sweep, by_seed=False))


def test_failures_are_listed(broken: tuple[Path, str, ReportPaths], seeds: tuple[Path, str]) -> None:
    (row,) = tables.failures(load_sweep(*broken[:2])).rows
    assert [c.text for c in row][:2] == ["first_stage=vq sampler.steps=50", "failed"]
    assert "non-finite loss" in text(failures_table(*broken[:2]))
    assert tables.failures(load_sweep(*seeds)) is None
    assert failures_table(*seeds) is None


def test_same_noise_is_stated_only_where_it_is_true(
    broken: tuple[Path, str, ReportPaths], seeds: tuple[Path, str]
) -> None:
    same = images.samples(load_sweep(*broken[:2])).same_noise
    assert same == "Image k of every row starts from the same x_T (seed 0, latent shape [4, 8, 8])."
    differs = images.samples(load_sweep(*seeds)).same_noise
    assert differs.startswith("The rows do not all start from the same x_T")
    assert "latent shape [3, 8, 8]" in differs


def test_rows_of_samples_stand_in_groups_of_one_x_T(
    broken: tuple[Path, str, ReportPaths], seeds: tuple[Path, str]
) -> None:
    (group,) = images.samples(load_sweep(*broken[:2])).groups
    assert [len(group.cards), len(group.priors)] == [6, 1]  # one decoder's noise stands there once
    groups = images.samples(load_sweep(*seeds)).groups
    assert len(groups) == 6 and all(len(g.cards) == 1 for g in groups)
    row = np.asarray(Image.open(io.BytesIO(group.cards[1].samples.png)))
    stored = load_sweep(*broken[:2]).with_file("images.npy", "prior.npy")[1].array("images.npy")
    np.testing.assert_array_equal(row, images.tile(stored[: images.COLUMNS], images.COLUMNS))


def test_error_maps_are_the_amplified_difference(broken: tuple[Path, str, ReportPaths]) -> None:
    a = np.array([[[[10, 200, 0]]]], np.uint8)
    b = np.array([[[[12, 100, 0]]]], np.uint8)
    assert images.errors(a, b).tolist() == images.errors(b, a).tolist() == [[[[8, 255, 0]]]]
    (group,) = images.reconstructions(load_sweep(*broken[:2]))
    assert [row.error is None for row in group.rows] == [True, False, False]
    grey = np.zeros((2, 4, 4, 1), np.uint8)
    assert images.errors(grey, grey).shape == (2, 4, 4, 3)
    text = broken[2].html.read_text()
    assert "times 4" in text and text.count("error map of") == 2


def test_every_image_says_what_it_is(broken: tuple[Path, str, ReportPaths]) -> None:
    tags = Elements(broken[2].html.read_text()).tags
    alts = [str(a.get("alt") or "") for tag, a in tags if tag == "img"]
    assert all(len(alt) > 5 for alt in alts)
    over = next(alt for alt in alts if " over sampler.steps. " in alt)
    assert "first_stage=kl: 3.1 at 5, 1.66 at 50" in over
    assert all(a.get("aria-label") for tag, a in tags if tag == "svg")


def test_latex_has_the_best_in_bold(broken: tuple[Path, str, ReportPaths]) -> None:
    text = (broken[2].folder / "results.tex").read_text()
    rows = [line.removesuffix(" \\\\").split(" & ") for line in text.splitlines() if " & " in line]
    assert rows[0][:2] == ["first\\_stage", "sampler.steps"] and len({len(row) for row in rows}) == 1
    assert rows[3][3] == "$\\mathbf{1.66}$\\textsuperscript{1}" and rows[1][3] == "$3.10$\\textsuperscript{1}"
    assert rows[1][4:6] == ["$0.0283$", "$0.0011$"] and "metric" in rows[0][5]
    assert "\\textless{}= 192 feature" in text and text.count("\\\\") == 1 + 6 + 1


@pytest.mark.slow
def test_a_report_has_the_same_bytes_from_the_store_alone(tmp_path: Path) -> None:
    """Drawn anew by another process, of which Python hashes text otherwise."""
    build(tmp_path / "store", {"first_stage": ["kl", "vq"], "sampler.steps": ["5", "20"]}, failed=3)
    code = "import sys; from pathlib import Path; from ablatent.report.write import write_report as w\n"
    code += "w(Path(sys.argv[1]), '2026-11-22_20-00-00', Path(sys.argv[2]))"
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-c", code, str(tmp_path / "store"), str(out)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        found.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()})
    assert {p.suffix for p in found[0]} == {".html", ".md", ".csv", ".tex", ".json", ".png", ".svg", ".pdf"}
    assert found[0] == found[1]


def test_reconstructions_share_their_originals(broken: tuple[Path, str, ReportPaths]) -> None:
    (group,) = images.reconstructions(load_sweep(*broken[:2]))
    assert [r.label for r in group.rows] == ["original", "first_stage=kl", "first_stage=vq"]
    assert "PSNR [dB] 24.31" in group.rows[1].detail


def test_latents_show_their_channels(broken: tuple[Path, str, ReportPaths], tmp_path: Path) -> None:
    root, sweep, paths = broken
    table = tables.latents(load_sweep(root, sweep))
    assert table is not None
    (new,) = table.rows
    assert [c.text for c in column(table, "mean, raw")] == ["0.5, -2, 0, 0"]
    means, deviations = (
        [float(v) for v in new[table.columns.index(f"{name}, normalised")].text.split(", ")] for name in ("mean", "std")
    )
    np.testing.assert_allclose(means, [0.0, 0.1, 0.2, 8.0], atol=0.05)
    np.testing.assert_allclose(deviations, 1.0, atol=0.05)
    assert 24 < float(new[5].text.rstrip("%")) < 25  # a quarter of the values lies around 8
    assert [c.text for c in new[6:]] == ["4 of 8", "4.0"]
    for text in (paths.html.read_text(), paths.markdown.read_text()):
        assert "Latents</h2>" in text or "## Latents" in text
        assert "Normalised training latents" in text
    alone = build(tmp_path, {})  # latents without histograms: no figure, and nothing is amiss
    written = write_report(tmp_path, alone)
    assert "latents" not in {p.stem for p in written.figures} and written.problems == []


def test_tile_puts_image_k_where_it_belongs() -> None:
    drawn = discs(5, 0, size=48)
    page = images.tile(drawn, 3)
    assert page.shape == (2 * 50 - 2, 3 * 50 - 2, 3)
    np.testing.assert_array_equal(page[50:98, 50:98], drawn[4])
    np.testing.assert_array_equal(
        images.tile(drawn[:, :16, :16], 5)[:48, :48], np.kron(drawn[0, :16, :16], np.ones((3, 3, 1)))
    )


def test_cost_counts_sharing(broken: tuple[Path, str, ReportPaths]) -> None:
    sweep = load_sweep(*broken[:2])
    table = cost.by_kind(sweep)
    row = {r[0].text: [c.text for c in r] for r in table.rows}
    assert row["first_stage"] == ["first_stage", "2", "2", "0", "6", "8m00s", "24m00s"]
    assert row["samples"][1:5] == ["6", "6", "0", "6"]
    total = cost.totals(sweep)
    assert total["once"] < total["alone"]
    # a job alone: two references, first stage, reconstruction, latents, diffusion, samples, scores
    assert sweep.job_seconds(sweep.jobs[0]) == 3 + 3 + 240 + 8 + 6 + 300 + 20 + 2


def test_provenance_names_digests_and_weights(broken: tuple[Path, str, ReportPaths]) -> None:
    facts = {r[0].text: r for r in cost.provenance(load_sweep(*broken[:2])).rows}
    assert facts["first_stage.perceptual.weights"][1].text == "vgg16.npz"
    assert facts["first_stage.perceptual.digest"][1].hint in ("", "cd" * 32)
    assert {"git commit", "uncommitted changes", "host: threads", "package: torch", "data: images"} <= set(facts)


@pytest.mark.slow
def test_damage_is_reported_and_the_rest_is_written(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"], "sampler.steps": ["5", "20"]})
    loaded = load_sweep(tmp_path, sweep)
    scores = tmp_path / "objects/scores" / loaded.jobs[0].stages["scores"] / "scores.json"
    data = bytearray(scores.read_bytes())
    data[20] ^= 1  # one byte flipped, same size
    scores.write_bytes(data)
    (tmp_path / "objects/samples" / loaded.jobs[1].stages["samples"] / "images.npy").unlink()
    (tmp_path / "objects/diffusion" / loaded.jobs[2].stages["diffusion"] / "manifest.json").write_text("{")
    (tmp_path / "sweeps" / sweep / "jobs" / "003.json").unlink()
    paths = write_report(tmp_path, sweep)
    problems = " ".join(paths.problems)
    assert "scores.json is damaged" in problems
    assert "images.npy is missing" in problems
    assert "its manifest is damaged" in problems
    table = tables.results(load_sweep(tmp_path, sweep))
    fid = column(table, "FID(quick) ↓")
    assert fid[0].text == "missing"
    assert fid[1].text == "1.90"
    assert [c.text for c in column(table, "status")] == ["finished"] * 3 + ["unfinished"]
    assert "scores.json is damaged" in paths.html.read_text()
    assert "scores.json is damaged" in paths.markdown.read_text()


def test_single_run_and_a_store_that_lost_everything(tmp_path: Path) -> None:
    sweep = build(tmp_path, {})
    assert tables.results(load_sweep(tmp_path, sweep)).columns[0] == "job"
    assert write_report(tmp_path, sweep).problems == []
    (tmp_path / "objects").rename(tmp_path / "gone")
    paths = write_report(tmp_path, sweep)
    assert len(paths.problems) == 8
    assert paths.figures == []
    assert "not in the store" in paths.html.read_text()


def test_unknown_sweep_is_a_config_error(broken: tuple[Path, str, ReportPaths]) -> None:
    with pytest.raises(ConfigError, match=r"^sweep: .*Did you mean '2026-11-22_20-00-00'"):
        load_sweep(broken[0], "2026-11-22_20-00-01")


def test_final_table(broken: tuple[Path, str, ReportPaths]) -> None:
    shown = text(final_table(*broken[:2]))
    header = shown.splitlines()[0]
    names = ["first_stage", "FID(quick)", "KID(quick)", "rFID(quick)", "PSNR [dB]", "perceptual distance", "seconds"]
    assert [header.index(n) for n in names] == sorted(header.index(n) for n in names)
    assert "precision" not in header
    assert "582.0" in shown
    assert len(shown.strip().splitlines()) >= 7


@pytest.mark.slow
def test_finish_writes_a_workspace_only_for_wandb(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"first_stage": ["kl", "vq"]})
    folder = finish(tmp_path, sweep, NoTracking()).folder
    assert not (folder / "workspace.json").exists()
    finish(tmp_path, sweep, WandbTracking("offline", "proj", None, tmp_path))
    assert (folder / "workspace.json").is_file()


def test_workspace_shows_axes_scores_curves_and_samples(broken: tuple[Path, str, ReportPaths], tmp_path: Path) -> None:
    path = write_workspace(overview_of(load_sweep(*broken[:2])), tmp_path, project="proj", entity="team")
    assert path is not None
    view = json.loads(path.read_text())
    assert (view["project"], view["entity"]) == ("proj", "team")
    spec = view["spec"]["section"]
    panels = [p for s in spec["panelBankConfig"]["sections"] for p in s["panels"]]
    (parallel,) = [p for p in panels if p["viewType"] == "Parallel Coordinates Plot"]
    expected = ["config:axes_first_stage.value", "config:axes_sampler_steps.value", "summary:fid_192"]
    assert [c["accessor"] for c in parallel["config"]["columns"]][:3] == expected
    media = [k for p in panels if p["viewType"] == "Media Browser" for k in p["config"]["mediaKeys"]]
    assert media == ["samples", "reconstructions"]
    assert "train/loss" in [m for p in panels if "Line" in p["viewType"] for m in p["config"]["metrics"]]
    assert broken[1] in json.dumps(spec["runSets"])


def test_columns_stand_in_order_and_a_yardstick_after_its_score() -> None:
    beside = dict.fromkeys(["psnr", "kid_192_noise", "kid_192", "new", "fid_192"]) | {"kid_192_noise": "kid_192"}
    assert metrics.ordered(beside) == ["fid_192", "kid_192", "kid_192_noise", "psnr", "new"]


def test_a_score_that_nobody_has_heard_of_is_shown_as_the_store_says(tmp_path: Path) -> None:
    """Who adds a metric edits nothing of the report."""
    sweep = load_sweep(tmp_path, build(tmp_path, {"first_stage": ["kl", "vq"]}))
    values = {"sharpness": 0.5, "sharpness_of_noise": 0.1, "hidden": 3.0}
    about = {"protocol": {}, "notes": [], "std": None, "beside": None, "remark": ""}
    for n, job in enumerate(sweep.jobs):
        folder = tmp_path / "objects/scores" / job.stages["scores"]
        metrics_ = {
            "sharpness": {**about, "label": "Sharpness", "better": "higher", "shown_in": "terminal"},
            "sharpness_of_noise": {**about, "label": "Sharpness of noise", "better": None, "beside": "sharpness"},
            "hidden": {**about, "label": "Hidden", "better": "lower", "shown_in": "csv"},
        }
        metrics_["sharpness_of_noise"]["remark"] = "Noise is sharp."
        data = json.dumps({"metrics": {k: {**m, "value": values[k] + n} for k, m in metrics_.items()}}).encode()
        (folder / "scores.json").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["scores.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    sweep = load_sweep(tmp_path, sweep.id)
    table = tables.results(sweep)
    assert table.columns[-3:] == ["Sharpness ↑", "Sharpness of noise", "time alone"]
    assert [c.best for c in column(table, "Sharpness ↑")] == [False, True]
    assert "Sharpness" in text(final_table(tmp_path, sweep.id)) and "noise" not in text(final_table(tmp_path, sweep.id))
    assert "Noise is sharp." in remarks.remarks(sweep, by_seed=False)
    assert "hidden" in jobs_csv(sweep) and "Hidden" not in table.columns


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("20", 20),
        ("1e-3", 1e-3),
        ("0.5", 0.5),
        ("kl", "kl"),
        ("[1,2]", "[1,2]"),
        ("True", True),
        ("false", False),
        ("inf", "inf"),
        ("NaN", "NaN"),
    ],
)
def test_axis_values_are_typed(typed: str, meant: object) -> None:
    assert axis_value(typed) == meant
    assert type(axis_value(typed)) is type(meant)


def test_smoothing_is_debiased() -> None:
    np.testing.assert_allclose(figures.smooth(np.full(50, 3.0), 10.0), 3.0)
    noisy = np.random.default_rng(0).standard_normal(2000)
    assert figures.smooth(noisy, 40.0).std() < 0.2


def test_numeric_axes(broken: tuple[Path, str, ReportPaths], seeds: tuple[Path, str]) -> None:
    assert charts.numeric_axes(load_sweep(*broken[:2])) == ["sampler.steps"]
    assert charts.numeric_axes(load_sweep(*seeds)) == []


@pytest.mark.slow
def test_images_are_counted_and_classes_have_their_numbers(tmp_path: Path) -> None:
    sweep = build(tmp_path, {"sampler.steps": ["5", "20"]})
    plan = tmp_path / "sweeps" / sweep / "plan.json"
    record = json.loads(plan.read_text())
    node = {"_target_": "ablatent.data.image_folder.ImageFolder", "root": "photos"}
    counts = {"found": 9, "train": 5, "validation": 1, "left_out": {"damaged": 3}, "others": {".heic": 2}}
    for job in record["jobs"]:
        job["config"]["data"], job["images"] = node, counts
    plan.write_text(json.dumps(record))
    paths = write_report(tmp_path, sweep)
    assert paths.problems == []
    text = paths.markdown.read_text()
    assert text.count("| ImageFolder photos | 9 | 5 | 1 | 3 damaged | 2 .heic |") == 1
    assert "classes 0: cat, 1: 10" in text
    page = paths.html.read_text()
    assert "3 damaged" in page and "2 .heic" in page and "classes 0: cat, 1: 10" in page
