"""Parts of the checks of several kinds: nodes against constructors, objects with readable errors, weights found.

Objects are made on the meta device where they are large. Costs an import of torch and some milliseconds per distinct
part; Lightning and friends stay out.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from ablatent.conditioning.source import Source
from ablatent.core.declared import declared, nodes_below
from ablatent.core.errors import AblatentError, ConfigError, MissingData
from ablatent.core.instantiate import make
from ablatent.core.targets import class_of
from ablatent.core.weights import Pretrained
from ablatent.data.annotation_kinds import IMAGES
from ablatent.data.base import Annotations, ImageData
from ablatent.evaluation.scores import Metric
from ablatent.stages.kind_base import Check
from ablatent.stages.options import needs_of

Config = Mapping[str, Any]
T = TypeVar("T")
# A network of fewer parameters is tried for real: quicker than the meta device, for which torch imports its compiler.
SMALL = 30_000_000


def trial_device(parameters: int) -> torch.device:
    """The device on which a network of so many parameters is tried: the CPU for a small one, else meta."""
    return torch.device("cpu" if parameters < SMALL else "meta")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread inside: what is tried here is too small for several, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parameter_count(*modules: nn.Module) -> int:
    """Parameters of all these modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def classes_of(config: Config) -> tuple[int, int]:
    """The numbers of classes and of segments of a job's data, 0 where its conditioner reads nothing but images.

    Of data that is not there, those that were published, or 1. Raises ConfigError where the data lacks what the
    conditioner reads.
    """
    needs = needs_of(config["conditioner"]) - {IMAGES.name}
    if not needs:
        return 0, 0
    annotations = outline_of(config)
    if annotations is None:
        classes = declared(config["data"], "published_classes", 1)
        return classes, classes
    Source(1, annotations).check(sorted(needs))
    return len(annotations.classes), len(annotations.segments)


def outline_of(config: Config) -> Annotations | None:
    """What a job's data is annotated with, without the annotations themselves; None where the data is not there."""
    try:
        return make(config["data"], ImageData).outline()
    except MissingData:
        return None


def check_weights_found(*configs: Any) -> None:
    """Raise ConfigError for a pretrained file or folder, named anywhere in these nodes, that is not found."""
    for node in nodes_below(list(configs)):
        if issubclass(class_of(node), Pretrained):
            make(node, Pretrained).check()


def explained(path: str, build: Callable[[], T]) -> T:
    """The result of build(), with errors of other libraries turned into a ConfigError that names the key `path`."""
    try:
        return build()
    except AblatentError:
        raise
    except (RuntimeError, ValueError, TypeError) as e:
        raise ConfigError(path, "values that fit together", f"{type(e).__name__}: {str(e).splitlines()[0]}") from None


def construct(path: str, config: Config, expected: type[T]) -> T:
    """The object of a node; errors of its constructor become a ConfigError that names the key `path`."""
    return explained(path, lambda: make(config, expected))


def evaluation_check(config: Config) -> Check:
    """The check of extractors and metrics, and of their weights, which are found, not loaded."""
    evaluation = config["evaluation"]

    def run() -> None:
        with torch.device("meta"):
            for metric in evaluation["metrics"].values():
                make(metric, Metric).check()
        check_weights_found(evaluation)

    return Check("evaluation", evaluation, run)
