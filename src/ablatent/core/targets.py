"""Which classes a configuration may name: gates that are passed before anything is imported. Free of torch."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.core.options import project_folders
from ablatent.core.source import file_of

TARGET = "_target_"
PACKAGE = __name__.partition(".")[0]
OTHERS = ("torch.optim",)
"""Modules of other packages whose classes some place takes."""


def check_module(key: str, module: str, also: Sequence[str] = ()) -> None:
    """Raise ConfigError for a module that no configuration may name: it is not imported.

    Allowed are this package, the modules of `also` and what lies in them, and modules beside a conf/ of the user's own.
    """
    top = module.partition(".")[0]
    allowed = top == PACKAGE or any(module == name or module.startswith(f"{name}.") for name in also)
    if not allowed and not any(_is_inside(module, folder) for folder in project_folders()):
        places = " or ".join([PACKAGE, *also])
        do = "A package of your own stands beside your conf/ folder."
        raise ConfigError(key, f"a class of {places}, or of the package beside your conf/", module, do)


def _is_inside(module: str, folder: Path) -> bool:
    """Whether a module that is imported by that name lies in the folder, or in src/ below it."""
    file, top = file_of(module), module.partition(".")[0]
    return file is not None and any(
        file.is_relative_to(place / top) or file == place / f"{top}.py" for place in (folder, folder / "src")
    )


def target_of(cls: type[Any]) -> str:
    """The `_target_` that names a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def class_of(config: Mapping[str, Any]) -> type[Any]:
    """The class that a node names; its module is imported, if a configuration may name it. Raises ConfigError else."""
    target = str(config.get(TARGET))
    module, _, name = target.rpartition(".")
    check_module(TARGET, module, OTHERS)
    try:
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, type):
            raise TypeError(f"{name} is no class")
        return found
    except Exception as e:
        raise ConfigError(TARGET, "a class that can be imported", target, str(e).splitlines()[0]) from None
