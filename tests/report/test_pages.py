"""Pages in a browser: no request, no error, no sideways scrolling, and charts that answer.

`ABLATENT_SCREENSHOTS=FOLDER` keeps the pictures that are taken here.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_store import build

from ablatent.report.compare_page import write_comparison
from ablatent.report.index import write_index
from ablatent.report.write import write_report
from hostile import HOSTILE, Elements

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium"),
]
WIDTHS = {"phone": 390, "laptop": 1400}
STEPS = ["5", "10", "20", "50"]
THREE = {"first_stage": ["kl", "vq"], "sampler.steps": STEPS, "guidance.scale": ["1", "2", "4"]}
SWEEPS = {
    "48 jobs": ({**THREE, "sampler.eta": ["0", "1"]}, None),
    "three axes": (THREE, None),
    "one job": ({}, None),
    "half failed": ({"first_stage": ["kl", "vq"], "sampler.steps": STEPS}, [1, 3, 4, 6]),
    "seeds": ({"first_stage": ["kl", "vq"], "sampler.steps": STEPS, "samples.seed": ["0", "1", "2"]}, None),
    "hostile": ({"a/..%2f|<b>$x$": HOSTILE, "sampler.steps": ["5", "20"]}, [1]),
    "long": (
        {
            **{"first_stage": ["kl", "vq"], "conditioner.parts.objects.dropout": ["0.1", "0.25"]},
            **{"guidance": ["classifier_free", "none"], "sampler.steps": ["5", "20"], "samples.seed": ["0", "1"]},
        },
        [5],
    ),
}
# A page scrolls down alone; what is wider stands in a box of its own. Pixels of images may be wider than a phone.
WIDE = "document.documentElement.scrollWidth > innerWidth"
TABLES = "[...document.querySelectorAll('.scroll')].map(d => d.scrollWidth - d.clientWidth).join(' ')"
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true);"


def browser(page: Path, *options: str, scheme: str = "light") -> subprocess.CompletedProcess[str]:
    """A page in Chromium without a network; what it logs is in stderr."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--enable-logging=stderr", "--v=0", "--proxy-server=127.0.0.1:9", "--hide-scrollbars"]
    command += [f"--user-data-dir={page.parent / '.profile'}", "--virtual-time-budget=3000"]
    command += ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    command += [*options, page.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    assert [line for line in found.stderr.splitlines() if ":CONSOLE" in line] == []
    return found


def driven(page: Path, script: str, width: int = 1400) -> str:
    """What a script makes of a page: the text that it leaves in `result`. The page's own policy would not run it."""
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    script = f"addEventListener('load', () => {{ let result = ''; {script}; document.title = `[${{result}}]`; }})"
    path = page.with_name("driven.html")
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    found = re.search(
        r"<title>\[(.*?)\]</title>", browser(path, f"--window-size={width},2000", "--dump-dom").stdout, re.S
    )
    assert found is not None
    return found[1]


@pytest.fixture(scope="module", params=SWEEPS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param.replace(" ", "_"))
    axes, failed = SWEEPS[request.param]
    paths = write_report(root, build(root, axes, failed=failed))
    assert [p for p in paths.problems if "not in the store" not in p] == []
    return paths.html


def kept(picture: Path, name: str) -> None:
    if folder := os.environ.get("ABLATENT_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, Path(folder) / name)


def name_of(page: Path) -> str:
    return page.parents[3].name


@pytest.mark.parametrize(("width", "scheme"), [(WIDTHS["phone"], "dark"), (WIDTHS["laptop"], "light")])
def test_it_opens_from_disk_without_an_error(page: Path, tmp_path: Path, width: int, scheme: str) -> None:
    picture = tmp_path / "page.png"
    browser(page, f"--window-size={width},2400", f"--screenshot={picture}", scheme=scheme)
    kept(picture, f"{name_of(page)}-{width}-{scheme}.png")
    image = np.asarray(Image.open(picture).convert("L"))
    assert image.shape[1] == width and image.std() > 10
    assert (image[0].mean() > 128) == (scheme == "light")


def test_nothing_in_it_points_elsewhere(page: Path) -> None:
    text = page.read_text()
    links = [
        str(a.get(name)) for _, a in Elements(text).tags for name in ("src", "href", "srcset", "data") if name in a
    ]
    assert links and all(link.startswith(("data:image/png;base64,", "#", "figures/")) for link in links)
    code = [*re.findall(r"<style>(.*?)</style>", text, re.DOTALL), text[text.rindex("<script>") :]]
    assert len(code) == 2 and not re.search(r"http|url\(|@import|fetch\(|import\(", "".join(code))


def test_it_prints(page: Path, tmp_path: Path) -> None:
    browser(page, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    printed = (tmp_path / "page.pdf").read_bytes()
    sizes = [(int(w), int(h)) for w, h in re.findall(rb"/MediaBox \[0 0 (\d+) (\d+)\]", printed)]
    assert printed.startswith(b"%PDF") and sizes[0][0] < sizes[0][1]
    assert any(w > h for w, h in sizes) == ('class="results dense"' in page.read_text())  # a wide table lies across
    kept(tmp_path / "page.pdf", f"{name_of(page)}.pdf")


@pytest.mark.parametrize("width", [500, 1400])  # Chromium has no window under 500 pixels that scripts can see
def test_a_page_does_not_scroll_sideways(page: Path, width: int) -> None:
    assert driven(page, f"{OPEN} result = {WIDE}", width) == "false"


def test_no_table_scrolls_sideways_at_1400_pixels(page: Path) -> None:
    assert set(driven(page, f"{OPEN} result = {TABLES}").split()) <= {"0"}


def test_charts_answer(tmp_path: Path) -> None:
    page = write_report(tmp_path, build(tmp_path, THREE)).html
    script = """
    const f = document.querySelector('figure.chart'), svg = f.querySelector('svg'), seen = [];
    const count = s => svg.querySelectorAll(s).length, tip = () => f.querySelector('.tip').textContent;
    seen.push(f.hidden, count('.line'), count('.mark'), document.querySelector('details.static').open);
    f.querySelector('.legend button').click();
    seen.push(count('.line'), f.querySelector('.legend button').getAttribute('aria-pressed'));
    const [y, x] = f.querySelectorAll('select');
    const texts = () => [...svg.querySelectorAll('text')].map(t => t.textContent);
    x.value = 1; x.dispatchEvent(new Event('change'));
    seen.push(count('.line'), texts().includes('guidance.scale'));
    y.value = 1; y.dispatchEvent(new Event('change'));
    seen.push(texts().includes('KID(quick) ↓'), count('.bar') === count('.mark'));
    const [logx, logy] = f.querySelectorAll('.controls button'), before = svg.innerHTML;
    logy.click();
    seen.push(svg.innerHTML !== before, logy.getAttribute('aria-pressed'));
    svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
    seen.push(tip().includes('first_stage=kl sampler.steps=5 guidance.scale=1'), tip().includes('± 0.0011'));
    svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}));
    seen.push(tip().startsWith('Point at a mark'));
    const mark = svg.querySelectorAll('.mark')[4].getBoundingClientRect();
    const place = {clientX: mark.x + mark.width / 2 + 2, clientY: mark.y + mark.height / 2};
    svg.dispatchEvent(new PointerEvent('pointermove', place));
    seen.push(tip().includes('sampler.steps=10 guidance.scale=2'));
    result = seen.join(' ')"""
    found = driven(page, script)
    # 2 first stages and 3 scales, 4 steps each; one line hidden; 2 first stages and 4 steps, 3 scales each
    assert found == "false 6 24 false 5 false 8 true true true true true true true true true"


def test_a_line_has_a_gap_where_a_job_failed(tmp_path: Path) -> None:
    page = write_report(tmp_path, build(tmp_path, {"sampler.steps": ["2", *STEPS]}, failed=2)).html
    script = """const svg = document.querySelector('figure.chart svg');
    result = svg.querySelectorAll('.mark').length + ' ' + svg.querySelectorAll('polyline').length"""
    assert driven(page, script) == "4 2"


def test_a_chart_without_script_leaves_its_figures(tmp_path: Path) -> None:
    page = write_report(tmp_path, build(tmp_path, THREE)).html
    text = page.read_text()
    page.write_text(text[: text.rindex("<script>")] + "</body></html>")  # as where none may run
    shown = """const open = [...document.querySelectorAll('details.static')].every(d => d.open);
    result = open + ' ' + [...document.querySelectorAll('figure.chart')].every(f => f.offsetHeight === 0)"""
    assert driven(page, shown) == "true true"


def test_comparisons_and_lists(tmp_path: Path) -> None:
    ids = ["2026-11-22_20-00-00", "2026-11-23_20-00-00"]
    for n, sweep in enumerate(ids):
        axes = {"first_stage": ["kl", "vq"], "sampler.steps": STEPS, "samples.seed": ["0", "1", "2"]}
        write_report(tmp_path, build(tmp_path, axes, sweep=sweep, worse=0.5 * n))
    pages = [write_comparison(tmp_path, ids)[0], write_index(tmp_path / "sweeps")[0]]
    for name, page in zip(("comparison", "index"), pages, strict=True):
        for width in WIDTHS.values():
            browser(page, f"--window-size={width},2400", f"--screenshot={tmp_path / 'page.png'}")
            kept(tmp_path / "page.png", f"{name}-{width}-light.png")
        assert driven(page, f"result = {WIDE}", 500) == "false"
