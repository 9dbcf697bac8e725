"""What a class declares of itself, read from its source: planning knows it without importing torch.

A declaration is a class attribute with a literal value, in the class or in one of its bases::

    class Age(Conditioner):
        needs = ("age",)

Classes whose source says it in another way (a computed attribute, a class made at run time) are imported.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ablatent.core.source import ancestors, class_node, origin_of
from ablatent.core.targets import TARGET, class_of

MISSING = object()


def declared(node: Mapping[str, Any], name: str, default: Any = MISSING) -> Any:
    """The class attribute `name` of the class that a configuration node names in its `_target_`.

    default: the value for a class that declares none; such a class is not imported. Without a default, raises
    AttributeError for a class that has none, ConfigError for one that cannot be imported.
    """
    module, _, cls = str(node[TARGET]).rpartition(".")
    if module in sys.modules:
        value = getattr(getattr(sys.modules[module], cls, None), name, MISSING)
    else:
        value = _in_source(module, cls, name)
    if value is MISSING:
        value = getattr(class_of(node), name) if default is MISSING else default
    return value


@cache
def _in_source(module: str, cls: str, name: str) -> Any:
    """The literal that the class, or the first of its bases that has one, assigns to `name`; else MISSING."""
    for origin in ancestors(*origin_of(module, cls)):
        found = class_node(*origin)
        for statement in found.body if found is not None else ():
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            value = getattr(statement, "value", None)
            if any(isinstance(t, ast.Name) and t.id == name for t in targets) and value is not None:
                try:
                    return ast.literal_eval(value)
                except ValueError:
                    return MISSING
            if isinstance(statement, ast.FunctionDef) and statement.name == name:
                return MISSING
    return MISSING


def nodes_below(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every node with a `_target_` in a configuration, at any depth, outer ones first."""
    if isinstance(value, Mapping):
        if isinstance(value.get(TARGET), str):
            yield value
        for item in value.values():
            yield from nodes_below(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nodes_below(item)
