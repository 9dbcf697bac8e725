"""From configuration nodes to objects: the one module below the command line that uses Hydra. Free of torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.options import project_folders
from ablatent.core.source import file_of

TARGET = "_target_"
PACKAGE = __name__.partition(".")[0]


def check_module(key: str, module: str, also: Sequence[str] = ()) -> None:
    """Raise ConfigError for a module that no configuration may name: it is not imported.

    Allowed are this package, the modules of `also` and what lies in them, and modules beside a conf/ of the user's own.
    """
    top = module.partition(".")[0]
    allowed = top == PACKAGE or any(module == name or module.startswith(f"{name}.") for name in also)
    if not allowed and not any(_is_inside(top, folder) for folder in project_folders()):
        places = " or ".join([PACKAGE, *also])
        do = "A package of your own stands beside your conf/ folder."
        raise ConfigError(key, f"a class of {places}, or of the package beside your conf/", module, do)


def _is_inside(top: str, folder: Path) -> bool:
    """Whether a module that is imported by that name lies in the folder, or in src/ below it."""
    file = file_of(top)
    return file is not None and any(
        file.is_relative_to(place / top) or file == place / f"{top}.py" for place in (folder, folder / "src")
    )


def make(config: Mapping[str, Any], **extra: Any) -> Any:
    """The object that a node describes; `extra` are arguments that follow from other stages.

    An error of ours inside a constructor comes out as it is; any other becomes a ConfigError that names the class.
    """
    try:
        return hydra.utils.instantiate(dict(config), _convert_="all", **extra)
    except InstantiationException as e:
        cause = e.__cause__
        if isinstance(cause, AblatentError):
            raise cause from None
        name = str(config.get(TARGET))
        raise ConfigError(name, "values that the class takes", str(cause or e).splitlines()[0]) from None


def target_of(cls: type[Any]) -> str:
    """The `_target_` that names a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def class_of(config: Mapping[str, Any]) -> type[Any]:
    """The class that a node names; its module is imported. Raises ConfigError for one that cannot be had."""
    target = str(config.get(TARGET))
    try:
        return hydra.utils.get_class(target)
    except Exception as e:
        raise ConfigError(TARGET, "a class that can be imported", target, str(e).splitlines()[0]) from None
