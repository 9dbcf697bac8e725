"""Figures are drawn again when what they show has changed, and only then."""

import logging
from pathlib import Path

import numpy as np
import pytest
from report_store import build

from ablatent.report import drawn, figures
from ablatent.report.drawn import FORMATS, RECORD, Drawn
from ablatent.report.figures import grid_of
from ablatent.report.write import ReportPaths, write_report

pytestmark = pytest.mark.slow  # each draws and writes whole reports

DRAWN = {"over-sampler.steps", "curves-first_stage", "curves-diffusion", "latents"}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of panels of each figure that is drawn."""
    calls: list[int] = []
    real = figures.grid_of

    def panels(count: int, wide: int = 3):  # type: ignore[no-untyped-def]
        calls.append(count)
        return real(count, wide)

    monkeypatch.setattr(figures, "grid_of", panels)
    return calls


def bytes_of(paths: ReportPaths) -> dict[str, bytes]:
    assert paths.problems == []
    return {p.name: p.read_bytes() for p in paths.figures}


def drawing(text: str) -> dict[str, bytes]:
    return {of: f"{text} {of}".encode() for of in FORMATS}


def sweep_in(root: Path) -> str:
    return build(root, {"first_stage": ["vq"], "sampler.steps": ["5", "20"]})


def test_not_drawn_again(tmp_path: Path, counted: list[int]) -> None:
    sweep = sweep_in(tmp_path)
    paths = write_report(tmp_path, sweep)
    first, pages = bytes_of(paths), [path.read_bytes() for path in (paths.html, paths.markdown, paths.csv)]
    assert len(counted) == len(DRAWN) and first.keys() >= {f"{name}.{of}" for name in DRAWN for of in FORMATS}
    again = bytes_of(write_report(tmp_path, sweep))
    other = write_report(tmp_path, sweep, out=tmp_path / "out")
    assert len(counted) == len(DRAWN)
    assert first == again == bytes_of(other)
    assert [path.read_bytes() for path in (other.html, other.markdown, other.csv)] == pages


def test_drawn_again_where_it_was_damaged_or_is_not_noted(tmp_path: Path, counted: list[int]) -> None:
    sweep = sweep_in(tmp_path)
    paths = write_report(tmp_path, sweep)
    first, folder = bytes_of(paths), paths.folder / "figures"
    png = bytearray(first["latents.png"])
    png[100] ^= 1
    (folder / "latents.png").write_bytes(png)
    (folder / "curves-diffusion.pdf").unlink()
    del counted[:]
    assert bytes_of(write_report(tmp_path, sweep)) == first
    assert len(counted) == 2
    (folder / RECORD).write_text("[{")
    del counted[:]
    assert bytes_of(write_report(tmp_path, sweep)) == first
    assert len(counted) == len(DRAWN)


def test_drawn_again_by_other_code(tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_in(tmp_path)
    write_report(tmp_path, sweep)
    monkeypatch.setattr(drawn, "_drawing", lambda: ["other"])
    del counted[:]
    write_report(tmp_path, sweep)
    assert len(counted) == len(DRAWN)


@pytest.mark.parametrize(
    "other",
    [
        ["curves", [("kl", {"train/loss": np.array([[0, 1.0], [1, 0.4]])})]],
        ["curves", [("vq", {"train/loss": np.array([[0, 1.0], [1, 0.5]])})]],
        ["curves", [("kl", {"train/loss": np.array([[0, 1.0]])})]],
        ["curves", [("kl", {"train/other": np.array([[0, 1.0], [1, 0.5]])})]],
        ["curves", [("kl", {"train/loss": np.array([[0, 1.0], [1, np.nan]])})]],
    ],
)
def test_drawn_again_for_other_data(tmp_path: Path, other: list[object]) -> None:
    what = ["curves", [("kl", {"train/loss": np.array([[0, 1.0], [1, 0.5]])})]]
    first = Drawn()
    files = {f"a.{of}": data for of, data in first.figure(what, lambda: drawing("first")).items()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    first.record(tmp_path, files)
    assert Drawn([tmp_path]).figure(what, lambda: drawing("second")) == drawing("first")
    assert Drawn([tmp_path]).figure(other, lambda: drawing("second")) == drawing("second")


def test_a_record_names_no_file_elsewhere(tmp_path: Path) -> None:
    inside, what = tmp_path / "inside", ["x"]
    inside.mkdir()
    first = Drawn()
    files = {f"a.{of}": data for of, data in first.figure(what, lambda: drawing("first")).items()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    first.record(inside, {f"../{name}": data for name, data in files.items()})
    assert Drawn([inside]).figure(what, lambda: drawing("second")) == drawing("second")


def test_drawing_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Hydra prints what libraries log, from INFO on."""
    caplog.set_level(logging.INFO)
    with grid_of(1) as ((axes,), out):
        axes.plot([0, 1], [0, 1], label="a line")
    assert set(out) == set(FORMATS) and caplog.records == []
