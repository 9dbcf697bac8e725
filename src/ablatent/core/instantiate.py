"""From configuration nodes to objects: the one module below the command line that uses Hydra. Free of torch."""

from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from ablatent.core.errors import AblatentError, ConfigError

TARGET = "_target_"


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
