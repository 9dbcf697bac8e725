"""The table of stage kinds: those of this package, found by their files, and those that a configuration adds.

A further kind is a class with a YAML in conf/stage, added to jobs by `+stage@stages.NAME=NAME`.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.stages.kind_base import StageKind
from ablatent.stages.options import extractor_needs


@cache
def built_in() -> tuple[StageKind, ...]:
    """The kinds of this package, inputs before what reads them."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*/kind.py")):
        module = importlib.import_module(f"{__package__}.{path.parent.name}.kind")
        own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
        found += [kind() for kind in own if issubclass(kind, StageKind)]
    return tuple(ordered(found))


def kinds_of(config: Mapping[str, Any]) -> list[StageKind]:
    """The kinds of a job: the built-in ones and those of its `stages`. Raises ConfigError for a name that is taken."""
    added: list[StageKind] = [make(node, StageKind) for node in (config.get("stages") or {}).values()]
    by_extractor = extractor_needs(config)
    if not added and not by_extractor:
        return list(built_in())
    kinds = [*built_in(), *added]
    names = [kind.name for kind in kinds]
    if taken := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError("stages", "kinds with names of their own", taken, f"The table has a kind '{taken}' already.")
    return list(ordered(kinds, by_extractor))


def ordered(kinds: Iterable[StageKind], of_extractor: Iterable[str] = ()) -> Iterator[StageKind]:
    """Each kind after those that it reads: all that read none first. Raises ConfigError for a circle.

    of_extractor: kinds that an extractor reads, and so those that take its features.
    """
    waiting = {kind.name: kind for kind in kinds}
    while waiting:
        free = [
            kind
            for kind in waiting.values()
            if not {*kind.reads, *(of_extractor if kind.extracts else ())} & set(waiting)
        ]
        if not free:
            raise ConfigError("stages", "kinds that do not read each other in a circle", ", ".join(waiting))
        yield from free
        waiting = {name: kind for name, kind in waiting.items() if kind not in free}
