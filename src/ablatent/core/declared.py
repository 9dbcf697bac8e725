"""What a class declares of itself, read from its source: planning knows it without importing torch.

A declaration is a class attribute with a literal value, in the class or in one of its bases::

    class Age(Conditioner):
        needs = ("age",)

Classes whose source says it in another way (a computed attribute, a class made at run time) are imported.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablatent.core.instantiate import TARGET, class_of

MISSING = object()


def declared(node: Mapping[str, Any], name: str) -> Any:
    """The class attribute `name` of the class that a configuration node names in its `_target_`.

    Raises AttributeError for a class that has none, ConfigError for one that cannot be imported.
    """
    target = str(node[TARGET])
    module, _, cls = target.rpartition(".")
    if module not in sys.modules:
        value = _in_source(module, cls, name)
        if value is not MISSING:
            return value
    return getattr(class_of(node), name)


@cache
def _in_source(module: str, cls: str, name: str) -> Any:
    """The literal that the class, or the first of its bases that has one, assigns to `name`; else MISSING."""
    tree = _tree(module)
    found = None if tree is None else _class(tree, cls)
    if tree is None or found is None:
        return MISSING
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
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)


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
