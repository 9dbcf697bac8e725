"""docs/configuration.md: every key of conf/, with what its field declares.

python -m ablatent.cli.reference > docs/configuration.md
"""

import dataclasses
import importlib
import sys
from collections.abc import Mapping

import yaml

from ablatent.cli.command_fields import CommandFields
from ablatent.cli.option_rows import VERBS, Rows, node_of, option_rows, place_of_group
from ablatent.cli.raw_overrides import verbs
from ablatent.core.fields import Fields, wording
from ablatent.core.options import conf_folder
from ablatent.core.schema import (
    Field,
    entries_of,
    fields_of,
    is_subclass,
    leaves,
    node_fields,
    origin_of_class,
    places_of,
)
from ablatent.core.source import Origin, origin_of
from ablatent.executors.kind_resources import DEFAULT, KEY
from ablatent.stages.job_fields import job_fields

HEAD = """# Configuration

Every key, with its type and range, its value in `conf/` and its meaning; `${preset.…}` is a value of the preset.
Written by `python -m ablatent.cli.reference` from the declarations of the classes that read the keys; a test compares.
"""
PARTS = ("metric", "extractor")
"""Groups whose options stand inside another one, with a section of their own."""


def page() -> str:
    """The whole page, in Markdown."""
    jobs = (_section(key, field) for key, field in job_fields().items())
    return "\n".join([HEAD, *jobs, *map(_part, PARTS), _executors(), _verbs(), _searches()])


def _section(key: str, field: Field) -> str:
    """The section of a key at the top: of all options of its group, or of its node in config.yaml."""
    files = sorted((conf_folder() / key).glob("*.yaml"))
    rows: dict[str, Rows] = {f.stem: option_rows(key, f) for f in files}
    if not files:
        node = node_of(conf_folder() / "config.yaml")[key]
        entries = entries_of(field.hint)
        named = not node and entries is not None and is_subclass(places_of(entries)[0], origin_of_class(Fields))
        rows = {"": _entry(f"{key}.NAME", places_of(entries)[0]) if named else leaves(key, node, field)}
    options = sorted(f.relative_to(conf_folder() / key).with_suffix("") for f in (conf_folder() / key).rglob("*.yaml"))
    listed = f": {', '.join(f'`{name.as_posix()}`' for name in options)}" if options else ""
    return f"## {key}\n\n{field.meaning[:1].upper()}{field.meaning[1:]}{listed}.\n\n{_table(rows)}"


def _entry(key: str, origin: Origin) -> Rows:
    """The rows of an entry of a mapping by names of a user's choice, with the defaults of its class; ???: mandatory."""
    defaults = {f.name: f for f in dataclasses.fields(getattr(importlib.import_module(origin[0]), origin[1]))}
    for name, field in fields_of(*origin).items():
        entries, default = entries_of(field.hint), defaults[name]
        if entries is not None:
            yield from _entry(f"{key}.{name}.NAME", places_of(entries)[0])
        elif default.default_factory is not dataclasses.MISSING:
            yield f"{key}.{name}", default.default_factory(), field
        else:
            yield f"{key}.{name}", "???" if default.default is dataclasses.MISSING else default.default, field


def _part(group: str) -> str:
    """The section of a group whose options stand inside another one."""
    key, _ = place_of_group(group)
    files = sorted((conf_folder() / group).glob("*.yaml"))
    rows = {f.stem: option_rows(group, f) for f in files}
    return f"## {group}\n\nStands at `{key}`: {', '.join(f'`{f.stem}`' for f in files)}.\n\n{_table(rows)}"


def _executors() -> str:
    """The section of executors; of what they take by kind of stage, the entry of `default` stands for all."""
    rows: dict[str, Rows] = {}
    field, default = fields_of(CommandFields.__module__, CommandFields.__qualname__)["executor"], f"{KEY}.{DEFAULT}."
    for file in sorted((conf_folder() / "executor").glob("*.yaml")):
        found = leaves("executor", node_of(file), field)
        rows[file.stem] = [row for row in found if not row[0].startswith(f"{KEY}.") or row[0].startswith(default)]
    listed = f"Where stages are built: {', '.join(f'`{name}`' for name in rows)}."
    text = f"{listed} `{KEY}.KIND` has the keys of `{KEY}.{DEFAULT}`, for one kind of stage."
    return f"## executor\n\n{text}\n\n{_table(rows)}"


def _verbs() -> str:
    """The section of the keys that verbs have of their own."""
    rows = {
        name: option_rows(VERBS, conf_folder() / VERBS / f"{name}.yaml") for name in sorted(verbs(conf_folder().parent))
    }
    return f"## do\n\nThe verb: {', '.join(f'`{name}`' for name in rows)}.\n\n{_table(rows)}"


def _searches() -> str:
    """The section of the keys of searches, which stand below hydra.sweeper."""
    rows: dict[str, Rows] = {}
    for file in sorted((conf_folder() / "hydra" / "sweeper").glob("*.yaml")):
        if (node := node_of(file)) and "search" in node:
            fields = node_fields(node, origin_of(*node["search"].rsplit(".", 1)))
            rows[file.stem] = [(f"hydra.sweeper.{key}", node[key], field) for key, field in fields.items()]
    return f"## hydra/sweeper\n\nSearches (docs/search.md): {', '.join(f'`{n}`' for n in rows)}.\n\n{_table(rows)}"


def _table(options: Mapping[str, Rows]) -> str:
    """A row for each distinct key, type and meaning, with its values: those of single options are named."""
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for option, rows in options.items():
        for key, value, field in rows:
            if not places_of(field.hint):
                row = found.setdefault((key, wording(field.hint), field.meaning), {})
                text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("\n...")
                row.setdefault(f"`{text}`", []).append(option)
    lines = []
    for (key, expected, meaning), values in found.items():
        everywhere = len(values) == 1 and sum(map(len, values.values())) == len(options)
        texts = [text if everywhere else f"{text} ({', '.join(names)})" for text, names in values.items()]
        lines.append(f"| `{key}` | {expected} | {'; '.join(texts)} | {meaning} |")
    head = ["| key | type and range | value | meaning |", "|---|---|---|---|"] if lines else []
    return "\n".join([*head, *lines, *([""] if lines else [])])


if __name__ == "__main__":
    sys.stdout.write(page())
