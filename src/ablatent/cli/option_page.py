"""The page of an option: its keys with default, type, range and meaning, its class, the paper behind it, an example.

`do=help option=GROUP/NAME` and `GROUP=NAME --help` print it. Free of Hydra and torch.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ablatent.cli.option_rows import PARTS, option_rows
from ablatent.core.fields import choices, fits, wording
from ablatent.core.schema import Field, places_of
from ablatent.core.source import class_node, origin_of, tree_of
from ablatent.core.targets import TARGET

WIDTH, NAME = 100, 19
NAMES = r"[A-Z][\w'’-]+(?:(?:, [A-Z][\w'’-]+)*,? (?:&|and) [A-Z][\w'’-]+| et al\.)?"
PAPER = re.compile(rf"\b{NAMES},? (?:\(\d{{4}}\w?\)|\d{{4}}\w?\b)(?:, (?:\"[^\"]+\"|eq\. [\d–, ]+|[a-z]+ [\w.]+))*")
"""A paper as docstrings name it: Song et al. 2021, "Title", eq. 12."""


def described(group: str, name: str, file: Path, node: dict[str, Any]) -> str | None:
    """What a page says of an option beside the head of its file; None where nothing declares its keys.

    file: the YAML; node: its content.
    """
    rows = [row for row in option_rows(group, file) if not places_of(row[2].hint)]
    doc, module_doc = _docstrings(node.get(TARGET))
    if not rows and not doc:
        return None
    comment = " ".join(line.strip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line[:1] == "#")
    papers = list(dict.fromkeys(m[0] for text in (doc, comment, module_doc) for m in PAPER.finditer(_one_line(text))))
    lines = []
    if doc:
        lines += ["", str(node[TARGET]), *_indented(doc)]
    if doc or papers:
        whole = [p for p in papers if not any(p != other and other.startswith(p) for other in papers)]
        source = "; ".join(whole[:4]) if papers else "the docstring names none"
        lines += ["", *row_of("paper", source)]
    lines += ["", "Keys", *(line for row in rows for line in _key(*row))] if rows else ["", "It has no keys."]
    return "\n".join([*lines, "", f"Example: python run.py {_example(group, name, rows)}"]) + "\n"


def row_of(name: str, text: str) -> list[str]:
    """A name and its text beside it, in lines of at most WIDTH characters."""
    first = f"  {name.ljust(NAME - 2)}" if len(name) < NAME - 2 else f"  {name} "
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * NAME, break_on_hyphens=False, break_long_words=False
    ) or [first.rstrip()]


def _key(path: str, value: Any, field: Field) -> Iterator[str]:
    """The lines of a key: its default and its type, then its meaning."""
    yield f"  {path}: {_flow(value)}   ({wording(field.hint)})"
    if field.meaning:
        yield from textwrap.wrap(field.meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("\n...")


def _docstrings(target: Any) -> tuple[str, str]:
    """(docstring of the class that a `_target_` names, that of its module), from the source; empty without one."""
    module, _, name = str(target or "").rpartition(".")
    if not module:
        return "", ""
    origin = origin_of(module, name)
    cls, tree = class_node(*origin), tree_of(origin[0])
    own = ast.get_docstring(cls) if cls is not None else None
    return inspect.cleandoc(own or ""), (ast.get_docstring(tree) or "") if tree is not None else ""


def _indented(doc: str) -> list[str]:
    paragraphs = [textwrap.wrap(_one_line(text), WIDTH - 2, break_on_hyphens=False) for text in doc.split("\n\n")]
    return [f"  {line}".rstrip() for k, lines in enumerate(paragraphs) for line in ([""] if k else []) + lines]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _example(group: str, name: str, rows: list[tuple[str, Any, Field]]) -> str:
    """The words of a command that chooses the option, and sets a key of it where one has a value to show."""
    if group in PARTS:
        place = PARTS[group]
        chosen = f"{'+' if 'NAME' in place else ''}{group}@{place.replace('NAME', name)}={name}"
    else:
        chosen = f"{group}={name}"
    values = [w for path, value, field in rows if "NAME" not in path for w in _other_value(path, value, field)]
    return " ".join([chosen, *values[-1:], "do=plan"])


def _other_value(path: str, value: Any, field: Field) -> Iterator[str]:
    """PATH=VALUE with another value of a key than its default, where the declaration shows one."""
    others: list[Any] = list(choices(field.hint)) if isinstance(value, str) else []
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int | float):
        others = [2 * value, value / 2, 1]
    for other in others:
        if other != value and fits(other, field.hint):
            yield f"{path}={_flow(other)}"
            return
