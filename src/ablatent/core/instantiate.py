"""From configuration nodes to objects: the one module below the command line that uses Hydra. Free of torch."""

from collections.abc import Mapping
from typing import Any, TypeVar

import hydra.utils
from hydra.errors import InstantiationException

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.targets import TARGET, class_of
from ablatent.core.validation import check_targets

T = TypeVar("T")


def make(config: Mapping[str, Any], expected: type[T], **extra: Any) -> T:
    """The object that a node describes; `extra` are arguments that follow from other stages.

    Only a class of `expected` is imported, and below it only classes of what its constructor takes: this holds for
    configurations of stores and files that somebody else made, too. An error of ours inside a constructor comes out as
    it is; any other becomes a ConfigError that names the class.
    """
    check_targets(config, expected)
    if not issubclass(class_of(config), expected):
        raise ConfigError(TARGET, f"a class of {expected.__name__}", config[TARGET])
    try:
        made: T = hydra.utils.instantiate(dict(config), _convert_="all", **extra)
    except InstantiationException as e:
        cause = e.__cause__
        if isinstance(cause, AblatentError):
            raise cause from None
        name = str(config.get(TARGET))
        raise ConfigError(name, "values that the class takes", str(cause or e).splitlines()[0]) from None
    return made
