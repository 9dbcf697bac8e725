"""What the pages of docs show: whole files, and commands."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from commands import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FILE = re.compile(r"^`([\w/]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files_in(pages: Iterable[Path]) -> dict[str, str]:
    """Name in a checkout → text, of the whole files that pages show."""
    return dict(file for page in pages for file in FILE.findall(page.read_text()))


def parts(page: Path) -> tuple[str, str]:
    """The text of a page without its fences, and what is inside the fences of commands."""
    text = page.read_text()
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return prose, "\n".join(body for language, body in fences if language in ("", "bash"))


def commands(pages: Iterable[Path] = PAGES) -> Iterator[tuple[str, str]]:
    """(page, command) of each distinct command of docs, in fences and in sentences."""
    found = dict[str, str]()
    for page in pages:
        prose, fenced = parts(page)
        lines = [line.split("   #")[0] for line in fenced.replace("\\\n", " ").splitlines()]
        for text in [*lines, *re.findall(r"`([^`\n]+)`", prose)]:
            command = text.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if re.match(r"(python3?|pytest|make|ablatent) ", command):
                found.setdefault(command, page.relative_to(DOCS if DOCS in page.parents else ROOT).as_posix())
    return ((page, command) for command, page in found.items())
