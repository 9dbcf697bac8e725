"""The options of config groups as plain YAML, for messages that name what could be chosen. Free of torch and Hydra."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT_VARIABLE = "ABLATENT_ROOT"
"""Environment variable with the folder that holds conf/ and experiments/; the command line sets it."""

SEARCHPATH_VARIABLE = "ABLATENT_SEARCHPATH"
"""Environment variable with further folders conf/, of hydra.searchpath as typed; the command line sets it."""


def project_folders() -> list[Path]:
    """The folders that hold a conf/ of the running command: its own, and those of a typed hydra.searchpath.

    A configuration that was read from a file adds none.
    """
    typed = [Path(p).parent for p in os.environ.get(SEARCHPATH_VARIABLE, "").split(os.pathsep) if p]
    root = os.environ.get(ROOT_VARIABLE)
    return [folder.resolve() for folder in [*([Path(root)] if root else []), *typed]]


def conf_folder() -> Path:
    """The folder conf/ of the running command; of this checkout where no command set one."""
    root = os.environ.get(ROOT_VARIABLE)
    return Path(root) / "conf" if root else Path(__file__).parents[3] / "conf"


def conf_folders() -> list[Path]:
    """Every folder with options of the running command, in the order in which Hydra searches them: that of the
    project, then those of a typed hydra.searchpath that are named conf."""
    typed = [Path(p) for p in os.environ.get(SEARCHPATH_VARIABLE, "").split(os.pathsep) if p]
    return [conf_folder(), *(folder for folder in typed if folder.is_dir() and folder.name == conf_folder().name)]


def read_yaml(file: Path) -> Any:
    """The value of a YAML file, by libyaml where PyYAML has it: eight times as fast as Python."""
    return yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _nodes(folder: Path) -> dict[str, Mapping[str, Any]]:
    nodes = {p.stem: read_yaml(p) for p in sorted(folder.glob("*.yaml"))}
    return {name: node for name, node in nodes.items() if isinstance(node, dict)}


def options_of(group: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(option, its file's content, interpolations unresolved) of a config group, sorted by name."""
    yield from _nodes(conf_folder() / group).items()
