"""Which classes a configuration may name: gates that are passed before anything is imported. Free of torch."""

import importlib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import project_folders, shown
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
        raise ConfigError(key, f"a class of {places}, or of a module beside your conf/", module, _mend(module, top))


def _mend(module: str, top: str) -> str:
    """What to do about a module that no configuration may name. top: its first name."""
    own = {file.stem: file for folder in project_folders() for file in (*folder.glob("*.py"), *folder.glob("src/*"))}
    file = file_of(module)
    if file is not None and top in own:
        return f"{shown(own[top])} is hidden by {file}: give it another name."
    if file is not None:
        return "A class of another package is named by a subclass of it in a module of your own, beside conf/."
    return did_you_mean(top, own) or "There is no such module: it stands beside conf/, or in src/ beside it."


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
    """The class that a node names; its module is imported, if a configuration may name it. Raises ConfigError else, and
    for a class that lacks a method of its base."""
    target = str(config.get(TARGET))
    module, _, name = target.rpartition(".")
    check_module(TARGET, module, OTHERS)
    try:
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, type):
            raise TypeError(f"{name} is no class")
    except Exception as e:
        raise ConfigError(TARGET, "a class that can be imported", target, _cause(e)) from None
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ConfigError(target, f"a class that defines {', '.join(missing)}", "none", "Its base class says what for.")
    return found


def _cause(error: Exception) -> str:
    """What an import raised, and where in the source, frames of the import itself left out."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if "importlib" not in f.filename]
    place = f"{shown(Path(frames[-1].filename))}, line {frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
