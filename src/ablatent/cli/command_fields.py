"""The fields of a command beside those of a job: its verb with the verb's own keys, executor and preset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Fields, Text
from ablatent.core.options import conf_folder, conf_folders, option_files, read_yaml
from ablatent.core.schema import Field, fields_of, leaves
from ablatent.core.targets import class_of
from ablatent.core.validation import check_value
from ablatent.core.values import get
from ablatent.stages.job_fields import job_fields

if TYPE_CHECKING:
    from ablatent.cli.verb import Verb
    from ablatent.sweep.executor import Executor

FROM_PRESET = re.compile(r"\$\{(?:oc\.select:)?preset\.([\w.]+)")


@dataclass
class CommandFields(Fields):
    """The keys of a command that belong to no job."""

    do: Annotated[Text, "the verb, an option of conf/do"]
    verb: Annotated[Verb, "the class of the verb"]
    executor: Annotated[Executor, "where stages are built"]


def command_fields(config: Mapping[str, Any]) -> dict[str, Field]:
    """Key → field, of a command's own keys, those of its verb included."""
    fields = dict(fields_of(CommandFields.__module__, CommandFields.__qualname__))
    check_value("verb", config.get("verb"), fields["verb"])  # before its class is looked at
    keys = class_of(config["verb"]).keys
    return {**fields, **fields_of(keys.__module__, keys.__qualname__)}


def check_command(config: Mapping[str, Any], reads: Sequence[str]) -> None:
    """Raise ConfigError for a value of the command, or of the parts of a job that its verb reads, which is not what
    its field declares.

    reads: keys at the top; empty: those that every job shares, since jobs are checked one by one.
    """
    for key, field in command_fields(config).items():
        if key in config:
            check_value(key, config[key], field)
    for key in reads or ("store",):
        if key in job_fields():
            check_value(key, config[key], job_fields()[key])


def check_preset(preset: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value of a preset that is not what the field that takes it declares."""
    for key, value in _flat(preset):
        field = preset_field(key)
        if field is not None:
            check_value(f"preset.{key}", value, field)


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def preset_field(key: str) -> Field | None:
    """The field of the option that takes a value of presets; None where no file of conf/ takes it."""
    for group, file in reversed(_takers(*conf_folders()).get(key, ())):
        if (field := _taken_by(group, file).get(key)) is not None:
            return field
    return None


@cache
def _takers(*folders: Path) -> dict[str, list[tuple[str, Path]]]:
    """Key of presets → the files of conf/ that name it, by the key of the job where they stand: their text tells, so
    that the sources of most classes need not be read."""
    found: dict[str, list[tuple[str, Path]]] = {}
    files = [(key, file) for key in job_fields() for file in option_files(key).values()]
    for group, file in [*files, *((key, conf_folder() / "config.yaml") for key in job_fields())]:
        for key in dict.fromkeys(FROM_PRESET.findall(file.read_text(encoding="utf-8"))):
            found.setdefault(key, []).append((group, file))
    return found


@cache
def _taken_by(group: str, file: Path) -> dict[str, Field]:
    """Key of presets → field, of what a file takes from a preset for that key of a job."""
    node = _nodes_in(file)
    if file.name == "config.yaml":
        node = node.get(group)
    return _taken(group, node, job_fields()[group])


@cache
def _nodes_in(file: Path) -> Any:
    return read_yaml(file)


def _taken(path: str, node: Any, field: Field) -> dict[str, Field]:
    """Key of presets → field, of the values below a node that come from a preset."""
    if not isinstance(node, Mapping):
        return {}
    values = leaves(path, {k: v for k, v in node.items() if k != "defaults"}, field)
    named = ((FROM_PRESET.match(value), leaf) for _, value, leaf in values if isinstance(value, str))
    return {match[1]: leaf for match, leaf in named if match is not None}


def check_preset_key(key: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a typed key of the preset that none of the chosen options takes.

    key: below `preset`; values: the composed configuration, not resolved.
    """
    taken = {m for text in _texts(values) for m in FROM_PRESET.findall(text)}
    if isinstance(get(values, f"preset.{key}"), Mapping) or key in taken or key == "name":
        return
    near = did_you_mean(key, taken)
    raise ConfigError(
        f"preset.{key}", "a key of the preset that a chosen option takes", get(values, f"preset.{key}"), near
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
