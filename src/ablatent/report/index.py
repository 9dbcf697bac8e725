"""One page that lists all reports below a folder: of the sweeps of a store, or of results that are kept elsewhere."""

import io
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from ablatent.core.errors import ConfigError
from ablatent.core.files import read_json, write_atomic
from ablatent.core.progress import track
from ablatent.report.html import fill
from ablatent.report.model import UNREADABLE
from ablatent.report.place import HTML

INDEX = "index.html"
MARKDOWN, VERDICTS = "report.md", "verdicts.json"
HEAD = 1 << 17  # characters of a report that are looked through for its head
THUMBNAIL = (480, 300)  # pixels
SHOWN_FIRST = ("verdict", "samples", "task-", "over-", "reconstructions", "")
"""Beginnings of the names of figures, in the order in which one is chosen."""


@dataclass(frozen=True)
class ListedReport:
    """A report of the list. link: relative to the index; verdicts: texts of what it found."""

    name: str
    title: str
    question: str
    lead: str
    link: str
    verdicts: list[str]
    thumbnail: bytes | None


def write_index(folder: Path) -> tuple[Path, int]:
    """Write FOLDER/index.html, which lists FOLDER/*/report.html, FOLDER/*/report/report.html, and what has a report.md
    alone; its path, and how many there are. Sweeps stand with the newest first. Raises ConfigError (`index`) for a
    folder without a report, and for one that cannot be written."""
    if not folder.is_dir():
        raise ConfigError("index", "a folder with reports, such as STORE/sweeps", str(folder))
    reports = [found for path in sorted(folder.glob("*/")) if (found := _report_in(path))]
    if not reports:
        raise ConfigError("index", "a folder with reports, such as STORE/sweeps", str(folder), "It holds none.")
    entries = []
    with track("index", len(reports), "reports") as bar:
        for report in reversed(reports):
            entries.append(_entry(folder, report))
            bar.advance()
    if not any((path.parent.parent / "plan.json").exists() for path in reports):
        entries.reverse()  # names are no times
    try:
        write_atomic(folder / INDEX, fill("index.html.j2", entries=entries, name=folder.resolve().name).encode())
    except OSError as error:
        raise ConfigError("index", "a folder that can be written", str(folder), f"{error.strerror}.") from None
    return folder / INDEX, len(entries)


def _report_in(path: Path) -> Path | None:
    places = [path / HTML, path / "report" / HTML, path / MARKDOWN]
    return next((place for place in places if place.is_file()), None)


def _entry(folder: Path, report: Path) -> ListedReport:
    below = report.relative_to(folder)
    with report.open(encoding="utf-8", errors="replace") as file:
        text = file.read(HEAD)
    head = _html_head(text) if report.name == HTML else markdown_head(text)
    return ListedReport(
        name=below.parts[0],
        title=head.get("h1") or below.parts[0],
        question=head.get("question", ""),
        lead=head.get("lead") or head.get("soft", ""),
        link=quote(below.as_posix()),
        verdicts=_verdicts(report.parent / VERDICTS),
        thumbnail=_thumbnail(report.parent / "figures"),
    )


class _Head(HTMLParser):
    """The title, the question and the first line of a report."""

    def __init__(self, text: str):
        super().__init__()
        self.found: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kinds = (dict(attrs).get("class") or "").split()
        names = {"h1"} & {tag} or ({"question", "soft", "lead"} & set(kinds) if tag == "p" else set())
        for name in names - set(self.found):
            self._inside, self.found[name] = tag, ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            last = list(self.found)[-1]
            self.found[last] += data


def _html_head(text: str) -> dict[str, str]:
    return {name: " ".join(found.split()) for name, found in _Head(text).found.items()}


def markdown_head(text: str) -> dict[str, str]:
    """The same of a report.md: its heading, and the paragraphs before its command."""
    parts = [" ".join(p.split()) for p in text.partition("```")[0].split("\n\n") if p.strip()]
    lines = [p for p in parts if not p.startswith("#")]
    heading = next((p.lstrip("# ") for p in parts if p.startswith("# ")), "")
    lead = next((n for n, p in enumerate(lines) if "job" in p.split(":")[0]), len(lines))
    names = {"h1": heading, "question": " ".join(lines[:lead]), "soft": " · ".join(lines[lead:])}
    return {name: found.replace("\\", "").replace("`", "") for name, found in names.items()}


def _verdicts(path: Path) -> list[str]:
    """How many claims came out how; empty where there is no such file, or one that cannot be read."""
    try:
        names = [str(claim["verdict"]) for claim in read_json(path)["claims"].values()]
    except UNREADABLE:
        return []
    return [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]


def _thumbnail(figures: Path) -> bytes | None:
    """The most telling figure of a report, made small; None without any that can be read."""
    paths = sorted(figures.glob("*.png"))
    for start in SHOWN_FIRST:
        for path in paths:
            if path.name.startswith(start):
                try:
                    return _small(path)
                except (OSError, ValueError, Image.DecompressionBombError):
                    continue
    return None


def _small(path: Path) -> bytes:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small = small.crop((0, 0, small.width, min(small.height, small.width * THUMBNAIL[1] // THUMBNAIL[0])))
    small.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
