"""From configuration nodes to objects. Free of torch."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ablatent.core.errors import AblatentError, ConfigError

# What stands in first_stage beside the model's own arguments: of a training, of imported weights.
NOT_MODEL = ("loss", "training", "seed", "digest", "weights")


def make(config: Mapping[str, Any], **extra: Any) -> Any:
    """The object that a node describes; `extra` are arguments that follow from other stages.

    An error of ours inside a constructor comes out as it is; any other becomes a ConfigError that names the class.
    """
    try:
        return instantiate(dict(config), _convert_="all", **extra)
    except InstantiationException as e:
        cause = e.__cause__
        if isinstance(cause, AblatentError):
            raise cause from None
        name = str(config.get("_target_"))
        raise ConfigError(name, "values that the class takes", str(cause or e).splitlines()[0]) from None


def make_first_stage(config: Mapping[str, Any]) -> Any:
    """The model of a first_stage node, without its loss, training and seed."""
    return make({k: v for k, v in config.items() if k not in NOT_MODEL})
