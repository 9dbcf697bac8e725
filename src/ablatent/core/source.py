"""Classes as their source files show them, without importing anything."""

import ast
import importlib.machinery
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ablatent.core.errors import ConfigError

Origin = tuple[str, str]
"""(module, name) of a class; the name of one inside another class is Outer.Inner."""


@cache
def file_of(module: str) -> Path | None:
    """The source file of a module, found without importing it or the packages around it; None where there is none."""
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
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


@cache
def tree_of(module: str) -> ast.Module | None:
    """The parsed source of a module; None where there is none. Raises ConfigError for one that is no Python."""
    file = file_of(module)
    try:
        return None if file is None else ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as e:
        got = f"line {e.lineno}: {(e.text or '').strip()}"
        raise ConfigError(str(file), "Python that can be read", got, f"Python: {e.msg}.") from None
    except ValueError as e:  # of another encoding, or with null bytes
        raise ConfigError(str(file), "Python in UTF-8", str(e)) from None


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module, those below `if TYPE_CHECKING` included."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.body
        else:
            yield node


@cache
def imported(module: str, name: str) -> Origin | None:
    """(module, name) that a module imports as `name`, by `from … import`; None for a name of its own."""
    for node in statements(tree_of(module) or ast.Module([], [])):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _absolute(module, node), alias.name
                inside = _absolute(module, node)
                if alias.name == "*" and (class_node(inside, name) is not None or imported(inside, name) is not None):
                    return inside, name
    return None


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that a `from … import` in a module names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    file, parts = file_of(module), module.split(".")
    package = parts if file is not None and file.name == "__init__.py" else parts[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


@cache
def class_node(module: str, name: str) -> ast.ClassDef | None:
    """The definition of a class in a module's own source, also of one inside another (Outer.Inner)."""
    tree = tree_of(module)
    body: list[ast.stmt] = [] if tree is None else list(statements(tree))
    found = None
    for part in name.split("."):
        found = next((n for n in body if isinstance(n, ast.ClassDef) and n.name == part), None)
        if found is None:
            return None
        body = found.body
    return found


@cache
def origin_of(module: str, name: str) -> Origin:
    """Where the class that a module calls `name` is defined; the given pair where the source does not show it."""
    if class_node(module, name) is not None:
        return module, name
    origin = imported(module, name.split(".", maxsplit=1)[0])
    return (module, name) if origin is None else origin_of(*origin)


@cache
def bases_of(module: str, name: str) -> tuple[Origin, ...]:
    """Where the bases of a class are defined, in order; of those that are named plainly or as MODULE.NAME."""
    node, bases = class_node(module, name), []
    for base in node.bases if node is not None else ():
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Name):
            bases.append(origin_of(module, base.id))
        elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            package = imported(module, base.value.id)
            bases.append(origin_of(".".join(package) if package else base.value.id, base.attr))
    return tuple(bases)


def ancestors(module: str, name: str) -> Iterator[Origin]:
    """The class and all its bases, the nearest first."""
    yield module, name
    for base in bases_of(module, name):
        yield from ancestors(*base)
