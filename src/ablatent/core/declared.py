"""What a class declares of itself, read from its source: planning knows it without importing torch.

A declaration is a class attribute with a literal value, in the class or in one of its bases::

    class Age(Conditioner):
        needs = ("age",)

Classes whose source says it in another way (a computed attribute, a class made at run time) are imported.
"""

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablatent.core.instantiate import TARGET, class_of

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
    tree = _tree(module)
    if tree is None:
        return MISSING
    found = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls), None)
    if found is None:
        origin = _origin(tree, module, cls)
        return MISSING if origin == (module, cls) else _in_source(*origin, name)
    for statement in found.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if any(isinstance(t, ast.Name) and t.id == name for t in targets) and value is not None:
            try:
                return ast.literal_eval(value)
            except ValueError:
                return MISSING
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return MISSING
    for base in found.bases:
        if isinstance(base, ast.Name):
            value = _in_source(*_origin(tree, module, base.id), name)
            if value is not MISSING:
                return value
    return MISSING


@cache
def _tree(module: str) -> ast.Module | None:
    """The source of a module, found without importing it or the packages around it; None where there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _origin(tree: ast.Module, module: str, name: str) -> tuple[str, str]:
    """(module, name) of what a module calls `name`: imported from elsewhere, or its own."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.module, alias.name
    return module, name


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
