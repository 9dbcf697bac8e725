"""The page that lists reports."""

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image
from report_store import build

from ablatent.cli.verbs import ReportVerb
from ablatent.core.errors import ConfigError
from ablatent.report.index import THUMBNAIL, write_index
from ablatent.report.write import write_report
from ablatent.store.artifacts import FORMAT, FORMAT_FILE, Store
from hostile import HOSTILE, Elements

pytestmark = pytest.mark.slow  # each draws and writes whole reports


def entries(page: Path) -> list[str]:
    """The links of the titles."""
    tags = Elements(page.read_text()).tags
    return [unquote(str(a["href"])) for n, (tag, a) in enumerate(tags) if tag == "a" and tags[n + 1][0] == "b"]


def test_sweeps_stand_with_the_newest_first(tmp_path: Path) -> None:
    for day in ("2026-11-22", "2026-11-24", "2026-11-23"):
        write_report(tmp_path, build(tmp_path, {"sampler.steps": ["5", "20"]}, sweep=f"{day}_20-00-00"))
    build(tmp_path, {}, sweep="2026-11-25_20-00-00")  # without a report
    page, count = write_index(tmp_path / "sweeps")
    assert count == 3 and page == tmp_path / "sweeps" / "index.html"
    expected = [f"2026-11-{day}_20-00-00/report/report.html" for day in (24, 23, 22)]
    assert entries(page) == expected and all((page.parent / link).is_file() for link in expected)
    shown = Elements(page.read_text())
    assert "KL or VQ" in shown.text and "Does the first stage matter?" in shown.text
    assert "2 jobs: 2 finished" in shown.text and "2026-11-22T20:00:00" in shown.text
    assert len([1 for tag, a in shown.tags if tag == "img" and str(a["src"]).startswith("data:image/png")]) == 3
    first = page.read_bytes()
    assert write_index(tmp_path / "sweeps")[0].read_bytes() == first


def test_verdicts_and_thumbnails_are_shown(tmp_path: Path) -> None:
    for name in ("b", "a"):
        root = tmp_path / name
        write_report(root, build(root, {"sampler.steps": ["5", "20"]}), tmp_path / "all" / name)
    claims = {str(n): {"verdict": verdict} for n, verdict in enumerate(["agree", "inconclusive", "agree"])}
    (tmp_path / "all" / "a" / "verdicts.json").write_text(json.dumps({"claims": claims}))
    (tmp_path / "all" / "b" / "verdicts.json").write_text("{")
    (tmp_path / "all" / "b" / "figures" / "samples.png").write_bytes(b"no image")
    page, _ = write_index(tmp_path / "all")
    assert entries(page) == ["a/report.html", "b/report.html"]
    shown = Elements(page.read_text())
    assert "2 agree, 1 inconclusive" in shown.text
    images = [str(a["src"]) for tag, a in shown.tags if tag == "img"]
    assert len(images) == 2 and images[0] != images[1]
    small = Image.open(io.BytesIO(base64.b64decode(images[0].partition(",")[2])))
    assert small.width <= THUMBNAIL[0] and small.height <= THUMBNAIL[1]


def test_results_that_are_kept_as_markdown_are_listed(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "experiments" / "results"
    for folder in results.glob("*/"):
        (tmp_path / folder.name).symlink_to(folder)
    page, count = write_index(tmp_path)
    assert count == len(list(results.glob("*/report.md"))) > 1
    assert "KL against VQ" in page.read_text()


def test_hostile_names_and_titles(tmp_path: Path) -> None:
    folder = tmp_path / "a#b?c <i>"
    folder.mkdir()
    (folder / "report.md").write_text(f"# {HOSTILE[0]}\n\n{HOSTILE[10]}\n\n1 job: 1 finished\n")
    page, _ = write_index(tmp_path)
    shown = Elements(page.read_text())
    assert not [a for _, a in shown.tags if any(name.startswith("on") for name in a)]
    assert not {tag for tag, _ in shown.tags} & {"i", "del", "script"}
    assert entries(page) == ["a#b?c <i>/report.md"]


def test_a_folder_without_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^index: expected a folder with reports"):
        write_index(tmp_path)
    with pytest.raises(ConfigError, match=r"^index: "):
        write_index(tmp_path / "nowhere")


def test_the_verb_takes_one_of_its_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["2026-11-22_20-00-00", "2026-11-23_20-00-00"]
    for n, sweep in enumerate(ids):
        write_report(tmp_path, build(tmp_path, {"sampler.steps": ["5", "20"]}, sweep=sweep, worse=n))
    (tmp_path / FORMAT_FILE).write_text(str(FORMAT))
    nothing = dict.fromkeys(("sweep", "compare", "index", "out"))
    verb, store = ReportVerb(), Store(tmp_path)
    assert verb([], store, {**nothing, "index": str(tmp_path / "sweeps")}, "") == 0
    assert verb([], store, {**nothing, "compare": ids}, "") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "index of 2 reports:" in printed
    assert re.search(r"comparison of 2 settings in \d+ metrics: ", printed), printed
    assert (tmp_path / "comparisons" / "-".join(ids) / "report.html").is_file()
    with pytest.raises(
        ConfigError, match=r"^compare: expected one of sweep, compare and index; got 'sweep and compare'"
    ):
        verb([], store, {**nothing, "compare": ids, "sweep": ids[0]}, "")
