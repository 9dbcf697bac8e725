"""A digest of the code that can build a stage: its static import closure, without comments and docstrings."""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "ablatent"


@functools.cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """(digest of one module's code, the package's modules that it imports anywhere, also inside functions)."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # its package is not there: nothing builds imported objects
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return "", ()
    tree = ast.parse(Path(spec.origin).read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    text = hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()
    return text, tuple(sorted(n for n in found if n.split(".")[0] == PACKAGE))


def code_digest(modules: Iterable[str]) -> str:
    """blake2b-128 over every module of the package that the given ones reach by imports."""
    seen: dict[str, str] = {}
    todo = [m for m in modules if m.split(".")[0] == PACKAGE]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen[name], imports = _module(name)
            todo.extend(imports)
    text = "\n".join(f"{name} {value}" for name, value in sorted(seen.items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
