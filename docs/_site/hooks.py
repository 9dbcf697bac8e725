"""What the site needs beside Markdown: equations as MathML, and the files outside docs/ that its pages link to.

An equation is a fence ```math or $`…`$ in a line, in LaTeX: as GitHub shows it, too.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")
OUTSIDE = "repository"
"""The folder of the site for files that are not in docs/."""


class InlineEquation(InlineProcessor):
    """$`…`$ as MathML."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | str, int, int]:  # type: ignore[override]
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class Equations(Extension):
    """$`…`$, before anything reads what is inside."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(InlineEquation(r"\$`([^`]+)`\$", md), "inline_equation", 250)


def block(source: str, language: str, css_class: str, options: dict[str, Any], md: Markdown, **_: Any) -> str:
    """A fence ```math as MathML."""
    return f'<div class="equation">{convert(source.strip(), display="block")}</div>'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add both forms of equations."""
    fence = {"name": "math", "class": "math", "format": block}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    config.markdown_extensions.append(Equations())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in what pages link to outside of docs/, and what these files link to in turn."""
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    there = set[str]()
    while waiting:
        for path in links(*waiting.pop()):
            file = ROOT / path
            if path in there or path.startswith("docs/") or not file.is_file():
                continue  # a link to a file that is not there: the build refuses it
            there.add(path)
            files.append(File.generated(config, f"{OUTSIDE}/{path}", abs_src_path=str(file)))
            if file.suffix == ".md":
                waiting.append((path, file.read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/, and out of what was taken in, go to where these files are in the site."""
    here = page.file.src_uri
    source = here.removeprefix(f"{OUTSIDE}/") if here.startswith(f"{OUTSIDE}/") else f"docs/{here}"

    def moved(m: re.Match[str]) -> str:
        if ":" in m[2]:
            return m[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), m[2]))
        target = path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"
        return f"{m[1]}{posixpath.relpath(target, posixpath.dirname(here) or '.')}{m[3]}"

    return LINK.sub(moved, markdown)


def links(source: str, text: str) -> Iterator[str]:
    """Paths in the repository that a page's text links to. source: the page's own path there."""
    for _, target, _ in LINK.findall(text):
        if ":" not in target:
            yield posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
