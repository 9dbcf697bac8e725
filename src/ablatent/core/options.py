"""The options of config groups as plain YAML, and the folders where they stand. Free of torch and Hydra."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ablatent.core.errors import ConfigError, closest

ROOT_VARIABLE = "ABLATENT_ROOT"
"""Environment variable with the folder that holds conf/ and experiments/; the command line sets it."""

OWN_VARIABLE = "ABLATENT_OWN"
"""Environment variable with the user's own folder, empty for none; the command line sets it."""

SEARCHPATH_VARIABLE = "ABLATENT_SEARCHPATH"
"""Environment variable with further folders conf/, of hydra.searchpath as typed; the command line sets it."""

EXPERIMENTS = "experiments"
"""The group whose folder stands beside conf/."""


def package_root() -> Path:
    """The folder with this package's own conf/, experiments/ and requirements-data.txt: of an installed one inside it,
    else the checkout."""
    inside = Path(__file__).parents[1] / "project"  # setup.py puts it into wheels
    return inside if inside.is_dir() else Path(__file__).parents[3]


def command_root() -> Path:
    """The folder with the conf/ and experiments/ of the running command; this package's own where no command runs."""
    return Path(root) if (root := os.environ.get(ROOT_VARIABLE)) else package_root()


def conf_folder() -> Path:
    """The folder conf/ of the running command."""
    return command_root() / "conf"


def own_folder() -> Path | None:
    """The user's own folder, whose conf/ and experiments/ come before the command's: that of the running command, else
    the current one; None where it has neither, or is the package's own."""
    if (named := os.environ.get(OWN_VARIABLE)) is not None:
        return Path(named) if named else None
    here = Path.cwd()
    return here if ROOT_VARIABLE not in os.environ and _has_options(here) and not _config(here).exists() else None


def own_folder_at(folder: Path, root: Path) -> Path | None:
    """The folder, if it is a user's own one for commands of `root`, else None.

    Raises ConfigError for one whose conf/ has a config.yaml, which would replace all defaults.
    """
    if folder.resolve() == root.resolve() or not _has_options(folder):
        return None
    if (file := _config(folder)).exists():
        do = "Other defaults are those of a preset or an experiment of your own. "
        do += f"In a checkout: python {folder / 'run.py'}" if (folder / "run.py").exists() else "Or use another folder."
        raise ConfigError("conf/config.yaml", "no such file in a conf/ of your own", str(file), do)
    return folder


def _has_options(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("conf", EXPERIMENTS))


def _config(folder: Path) -> Path:
    return folder / "conf" / "config.yaml"


def project_folders() -> list[Path]:
    """The folders that hold a conf/ of the running command, beside which modules of options may stand: the user's own,
    its own, and those of a typed hydra.searchpath.

    A configuration that was read from a file adds none.
    """
    own, root = own_folder(), os.environ.get(ROOT_VARIABLE)
    folders = [*([own] if own else []), *([Path(root)] if root else []), *(conf.parent for conf in typed_folders())]
    return [folder.resolve() for folder in folders]


def typed_folders() -> list[Path]:
    """The folders conf/ of a typed hydra.searchpath."""
    return [Path(p) for p in os.environ.get(SEARCHPATH_VARIABLE, "").split(os.pathsep) if p]


def conf_folders(root: Path | None = None) -> list[Path]:
    """The folders conf/ in the order in which options are looked for. root: that holds the command's; None: known."""
    own = own_folder()
    return [*([own / "conf"] if own else []), (root or command_root()) / "conf", *typed_folders()]


def folders_of(group: str, root: Path | None = None) -> list[Path]:
    """The folders that have options of a group, in the order in which these are looked for."""
    if group != EXPERIMENTS:
        return [conf / group for conf in conf_folders(root)]
    own = own_folder()
    folders = [*([own] if own else []), root or command_root(), *typed_folders()]
    return [folder / EXPERIMENTS for folder in folders]


def option_files(group: str, root: Path | None = None) -> dict[str, Path]:
    """Option → its file, the first of several, by name. The name of one in a folder below is FOLDER/NAME."""
    found: dict[str, Path] = {}
    for folder in folders_of(group, root):
        for file in folder.rglob("*.yaml"):
            found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    return dict(sorted(found.items()))


def looked_for(group: str, root: Path | None = None) -> str:
    """The sentence that says where options of a group were looked for."""
    places = [shown(folder) for folder in folders_of(group, root) if folder.is_dir()]
    return f"Looked for in {', '.join(places)}.{_misspelt(group, root)}"


def _misspelt(group: str, root: Path | None) -> str:
    """The sentence on a folder of the user's own whose name is nearly that of the group; empty where there is none."""
    own = own_folder()
    names = {folder.name for folder in (own / "conf").glob("*/")} if own else set()
    names -= {folder.name for folder in ((root or command_root()) / "conf").glob("*/")}
    near = closest(group, sorted(names))
    return f" The folder conf/{near} is no group: its name would be conf/{group}." if near else ""


def shown(path: Path) -> str:
    """A path as short as it can be read from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read_yaml(file: Path) -> Any:
    """The value of a YAML file, by libyaml where PyYAML has it: eight times as fast as Python.

    Raises ConfigError for a file that is none.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as e:
        place = (
            "" if e.problem_mark is None else f"line {e.problem_mark.line + 1}, column {e.problem_mark.column + 1}: "
        )
        raise ConfigError(shown(file), "YAML", f"{place}{e.problem}") from None
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(shown(file), "YAML in UTF-8", str(e).splitlines()[0]) from None


@cache
def _node(file: Path) -> Any:
    return read_yaml(file)


def options_of(group: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(option, its file's content, interpolations unresolved) of a config group, sorted by name."""
    nodes = ((name, _node(file)) for name, file in option_files(group).items() if "/" not in name)
    yield from ((name, node) for name, node in nodes if isinstance(node, dict))
