"""The options of config groups at their places in a job: their files, and their keys with what the fields declare.

docs/configuration.md, `do=help` and `do=check` read them here. Free of Hydra and torch.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ablatent.cli.command_fields import CommandFields
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import EXPERIMENTS, conf_folders, option_files, read_yaml
from ablatent.core.schema import Field, entries_of, fields_of, leaves, origin_of_class, places_of
from ablatent.core.targets import class_of
from ablatent.stages.job_fields import job_fields

PARTS = {"metric": "evaluation.metrics.NAME", "extractor": "evaluation.extractor", "stage": "stages.NAME"}
"""Groups whose options stand inside another node → their key."""
VERBS = "do"
HYDRA = "hydra"
"""The folder of conf/ with options of Hydra's own groups."""
Rows = Iterable[tuple[str, Any, Field]]
"""(key, value, field) of each value."""


def place_of_group(group: str) -> tuple[str, Field]:
    """(key, field) of the place in a job where an option of a group stands. Raises ConfigError for another group."""
    if group in PARTS:
        top, inner = PARTS[group].split(".")[:2]
        field = job_fields()[top]
        if entries_of(field.hint) is None:
            field = fields_of(*places_of(field.hint)[0])[inner]
        return PARTS[group], Field(group, entries_of(field.hint) or field.hint, True)
    fields = {**fields_of(*origin_of_class(CommandFields)), **job_fields()}
    if group not in fields or group == VERBS:
        known = [*fields, *PARTS]
        raise ConfigError("option", "an option of a group of a job", group, did_you_mean(group, known))
    return group, fields[group]


def option_rows(group: str, file: Path) -> Rows:
    """The rows of the option in a file, for groups of jobs and for verbs, which have their own keys."""
    node = node_of(file)
    if group == VERBS:
        keys = class_of(node["verb"]).keys
        fields = fields_of(keys.__module__, keys.__qualname__)
        return [leaf for key, field in fields.items() if key in node for leaf in leaves(key, node[key], field)]
    key, field = place_of_group(group)
    return leaves(key, node, field)


def node_of(file: Path) -> dict[str, Any]:
    """The content of an option's file, without the options that it chooses itself."""
    return {key: value for key, value in (read_yaml(file) or {}).items() if key != "defaults"}


def groups() -> list[str]:
    """Every group that has options: the folders of conf/, and experiments; those of Hydra apart."""
    folders = {p.name for conf in conf_folders() for p in conf.glob("*") if p.is_dir() and any(p.rglob("*.yaml"))}
    return sorted({*folders, EXPERIMENTS} - {HYDRA})


def split_option(typed: str | None) -> tuple[str, str]:
    """(group, name) of an option that was typed as GROUP/NAME. Raises ConfigError for one that does not exist."""
    form = "GROUP/NAME, an option of a config group"
    if typed is None:
        raise ConfigError("option", form, None, "For example option=sampler/ddim; do=list what=options lists all.")
    group, _, name = typed.replace("=", "/", 1).partition("/")
    if group in groups():
        files = option_files(group)
        if name in files:
            return group, name
        near = did_you_mean(name, files)
        raise ConfigError("option", f"{group}/NAME with one of {', '.join(files)}", typed, near)
    there = [f"{g}/{group}" for g in groups() if not name and group in option_files(g)]
    whole = [f"{g}/{n}" for g in groups() for n in option_files(g)]
    near = f"Did you mean '{there[0]}'?" if there else did_you_mean(group, groups()) or did_you_mean(typed, whole)
    raise ConfigError("option", f"{form}, with one of the groups {', '.join(groups())}", typed, near)
