"""A digest of the code that can build a stage: its static import closure, without comments and docstrings."""

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablatent.core.memo import Memo

PACKAGE = "ablatent"


@functools.cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """(digest of one module's code, the modules that it imports anywhere, also inside functions: those of the package,
    and where it is a user's own, other own ones)."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # its package is not there: nothing builds imported objects
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return "", ()
    text, found = _of_source(Path(spec.origin).read_text())
    counts = _in_package if _in_package(name) else _own
    return text, tuple(n for n in found if counts(n))


def _read(source: str) -> tuple[str, list[str]]:
    """(digest of a module's code, the names of all modules that it imports, sorted)."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    text = hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()
    return text, sorted(found)


_of_source = Memo("code", _read, f"{sys.version} {Path(__file__).read_text()}")
"""As `_read`: parsing takes a millisecond or more a module."""


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """The tree and all statements below it: imports and docstrings are no part of an expression, of which most nodes
    are."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.expr):
            yield from _statements(child)


def _in_package(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == PACKAGE


def _own(name: str) -> bool:
    """Whether a module is code of the package, or of a user: not installed, and no part of Python."""
    return _in_package(name) or _users(name.split(".", maxsplit=1)[0])


@functools.cache
def _users(top: str) -> bool:
    """Whether a top-level module or package is found outside of Python and of what is installed."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec is not None else []
    paths = [Path(place) for place in places if place.endswith(".py") or Path(place).is_dir()]
    python = Path(sysconfig.get_path("stdlib"))
    return bool(paths) and not any(
        {"site-packages", "dist-packages"} & set(p.parts) or python in p.parents for p in paths
    )


def reached(modules: Iterable[str]) -> dict[str, str]:
    """Module → digest of its code: of every module of the package that the given ones reach by imports, and of a user's
    own code that is among them or reached from there."""
    seen: dict[str, str] = {}
    todo = [m for m in modules if _own(m)]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen[name], imports = _module(name)
            todo.extend(imports)
    _of_source.save()
    return seen


def code_digest(modules: Iterable[str]) -> str:
    """blake2b-128 over all modules that are `reached`."""
    seen = reached(modules)
    text = "\n".join(f"{name} {value}" for name, value in sorted(seen.items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
