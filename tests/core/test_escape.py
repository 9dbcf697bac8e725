"""Text of users in every format that is written: it shows as it is, and does nothing."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ablatent.core.escape import fenced, file_name, for_console, for_csv, for_figure, for_latex, for_markdown, one_line
from ablatent.core.images import labelled
from ablatent.core.progress import console
from hostile import HOSTILE, rendered


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_the_text(text: str) -> None:
    assert rendered(for_markdown(text)).text.strip() == one_line(text)
    assert [tag for tag, _ in rendered(for_markdown(text)).tags] == ["p"]
    table = rendered(f"| a | b |\n| --- | --- |\n| {for_markdown(text)} | 1 |\n")
    assert sum(tag == "td" for tag, _ in table.tags) == 2 and one_line(text) in table.text
    block = rendered(fenced(text))
    assert [tag for tag, _ in block.tags] == ["pre", "code"]
    assert block.text.split() == text.split()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_a_csv_file_is_no_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([for_csv(text)])
    ((cell,),) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert cell.endswith(text) and cell[0] not in "=+-@\t\r\n"


@pytest.mark.parametrize("text", ["-1", "1e-3", "+0.5", "-inf", "kl", ""])
def test_numbers_stay_numbers_in_a_csv_file(text: str) -> None:
    assert for_csv(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_the_console_shows_the_text(text: str) -> None:
    out = io.StringIO()
    terminal = Console(file=out, width=500, force_terminal=True, color_system=None, emoji=False)
    terminal.print(f"[red]error[/] {for_console(text)}", highlight=False)
    shown = out.getvalue().replace("\\\\", "\\")  # rich writes a last backslash twice
    assert "\x1b" not in shown and "\x07" not in shown
    assert shown.split() == ["error", *text.replace("\x1b", "\\x1b").replace("\x07", "\\x07").split()]


def test_the_console_of_all_commands_draws_no_emoji() -> None:
    with console.capture() as captured:
        console.print(for_console(":cat:"))
    assert captured.get() == ":cat:\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_figures_draw_the_text(text: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cbook import is_math_text
    from matplotlib.figure import Figure

    assert is_math_text(for_figure(text)) is False or "$" not in for_figure(text)
    figure = Figure()
    figure.text(0, 0, for_figure(text))
    FigureCanvasAgg(figure).draw()
    assert labelled(np.zeros((1, 8, 8, 3), np.uint8), [text], [text]).ndim == 3


@pytest.mark.parametrize("text", [*HOSTILE, "", ".", "..", "a/b", "C:\\x", "x" * 500, "nul\0", "übung.png"])
def test_a_file_name_stays_in_its_folder(text: str, tmp_path: Path) -> None:
    name = file_name(text)
    (tmp_path / name).write_text("")
    assert [p.name for p in tmp_path.iterdir()] == [name] and not set(name) & set("/\\%:$<>|*?\"'\n")


def test_signs_of_labels_are_known_to_latex() -> None:
    assert for_latex("FID∞ ↓ ± ×") == r"FID$\infty$ $\downarrow$ $\pm$ $\times$"
