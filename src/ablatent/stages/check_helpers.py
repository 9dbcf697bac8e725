"""Parts of the checks of several kinds: nodes against constructors, objects with readable errors, weights found.

Objects are made on the meta device where they are large. Costs an import of torch and some milliseconds per distinct
part; Lightning and friends stay out.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ablatent.conditioning.source import Source
from ablatent.core.declared import nodes_below
from ablatent.core.errors import AblatentError, ConfigError, did_you_mean
from ablatent.core.instantiate import TARGET, class_of, make
from ablatent.core.weights import Pretrained
from ablatent.data.annotation_kinds import IMAGES
from ablatent.stages.kind_base import Check
from ablatent.stages.options import needs_of

Config = Mapping[str, Any]
# A network of fewer parameters is tried for real: quicker than the meta device, for which torch imports its compiler.
SMALL = 30_000_000


def trial_device(parameters: int) -> torch.device:
    """The device on which a network of so many parameters is tried: the CPU for a small one, else meta."""
    return torch.device("cpu" if parameters < SMALL else "meta")


def parameter_count(*modules: nn.Module) -> int:
    """Parameters of all these modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def classes_of(config: Config) -> tuple[int, int]:
    """The numbers of classes and of segments of a job's data, 0 where its conditioner reads nothing but images.

    Raises ConfigError where the data lacks what the conditioner reads.
    """
    needs = needs_of(config["conditioner"]) - {IMAGES.name}
    if not needs:
        return 0, 0
    annotations = make(config["data"]).outline()
    Source(1, annotations).check(sorted(needs))
    return len(annotations.classes), len(annotations.segments)


def check_arguments(path: str, config: Config, filled: int = 0, beside: tuple[str, ...] = ()) -> None:
    """Check that the keys of a `_target_` node, and of nodes below it, are the arguments of its constructor.

    path: the key of the node; filled: number of required arguments that builders add; beside: further keys of the node,
    which are no arguments. Raises ConfigError for an unknown key and for a required argument that is missing.
    """
    target = config.get(TARGET)
    if isinstance(target, str):
        try:
            module, _, name = target.rpartition(".")
            constructor = getattr(importlib.import_module(module), name)
        except Exception as e:
            reason = str(e).splitlines()[0]
            raise ConfigError(f"{path}.{TARGET}", "a class that can be imported", target, reason) from None
        parameters = inspect.signature(constructor).parameters
        check_options(path, config, constructor, beside)
        missing = [
            n for n, p in parameters.items() if p.default is p.empty and n not in config and "VAR" not in p.kind.name
        ]
        if len(missing) > filled and path != "optimizer":
            raise ConfigError(path, f"the options {', '.join(missing)} of {target.rsplit('.', 1)[-1]}", "nothing")
    for key, value in config.items():
        if isinstance(value, Mapping):
            check_arguments(f"{path}.{key}", value)


def check_options(path: str, config: Config, constructor: Any, beside: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for a key of a node that is neither an argument of its constructor nor among `beside`."""
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in config:
        if key not in parameters and key not in beside and not key.startswith("_"):
            expected = f"an option of {constructor.__name__} ({', '.join(parameters)})"
            raise ConfigError(f"{path}.{key}", expected, config[key], did_you_mean(key, parameters))


def check_weights_found(*configs: Any) -> None:
    """Raise ConfigError for a pretrained file or folder, named anywhere in these nodes, that is not found."""
    for node in nodes_below(list(configs)):
        if issubclass(class_of(node), Pretrained):
            make(node).check()


def explained(path: str, build: Callable[[], Any]) -> Any:
    """The result of build(), with errors of other libraries turned into a ConfigError that names the key `path`."""
    try:
        return build()
    except AblatentError:
        raise
    except (RuntimeError, ValueError, TypeError) as e:
        raise ConfigError(path, "values that fit together", f"{type(e).__name__}: {str(e).splitlines()[0]}") from None


def construct(path: str, config: Config) -> Any:
    """The object of a node; errors of its constructor become a ConfigError that names the key `path`."""
    return explained(path, lambda: make(config))


def evaluation_check(config: Config) -> Check:
    """The check of extractors and metrics: arguments, and weights, which are found, not loaded."""
    evaluation = config["evaluation"]

    def run() -> None:
        for name, metric in evaluation["metrics"].items():
            check_arguments(f"evaluation.metrics.{name}", metric)
        with torch.device("meta"):
            for metric in evaluation["metrics"].values():
                make(metric).check()
        check_weights_found(evaluation)

    return Check("evaluation", evaluation, run)
