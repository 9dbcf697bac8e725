"""An option of a config group with all that its invariants need."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ablatent.core.instantiate import make
from ablatent.core.schema import Field, fields_of, origin_of, places_of
from ablatent.core.source import Origin
from ablatent.core.targets import TARGET

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """An option under check.

    group, name: as in GROUP=NAME; key: of its node in a job; node: the node, resolved, in plain values; field: that
    takes the node; config: of a job that has it, resolved; raw: its file as it stands, interpolations unresolved.
    """

    group: str
    name: str
    key: str
    node: Mapping[str, Any]
    field: Field
    config: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def origin(self) -> Origin | None:
        """Where its class is defined; None for an option without one."""
        module, _, name = str(self.node.get(TARGET, "")).rpartition(".")
        return origin_of(module, name) if module else None

    def arguments(self) -> dict[str, Any]:
        """Its node without the keys that stand beside the arguments of its class, for other readers."""
        taken = fields_of(*self.origin) if self.origin is not None else {}
        return {key: value for key, value in self.node.items() if key == TARGET or not taken or key in taken}

    def make(self, expected: type[T], filled: Mapping[str, Any] | None = None, **changes: Any) -> T:
        """The object of its node. filled: arguments that follow from other options; changes: of its values."""
        return make({**self.arguments(), **changes}, expected, **(filled or {}))

    def base(self) -> type[Any]:
        """The class that its place in a job expects."""
        module, name = places_of(self.field.hint)[0]
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    def with_values(self, **changes: Any) -> "Option":
        """The same option with other values."""
        return replace(self, node={**self.node, **changes})
