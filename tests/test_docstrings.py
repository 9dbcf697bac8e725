"""Every public definition of the package has a docstring, unless it overrides a documented one of the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "ablatent"
# methods that overrides of other libraries' classes take their docstrings from
ELSEWHERE = {"forward", "configure_ddp"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees() -> dict[str, ast.Module]:
    """Path below src/ablatent → parsed module."""
    return {p.relative_to(SRC).as_posix(): ast.parse(p.read_text()) for p in sorted(SRC.rglob("*.py"))}


def classes_by_name(modules: dict[str, ast.Module]) -> dict[str, ast.ClassDef]:
    """Class name → class; names are unique in the package (`test_class_names_are_unique`)."""
    return {node.name: node for tree in modules.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def base_names(cls: ast.ClassDef) -> list[str]:
    """Names of the bases: `Base`, `module.Base`, `Base[T]`."""
    return [ast.unparse(base).split("[")[0].split(".")[-1] for base in cls.bases]


def documented_in_a_base(cls: ast.ClassDef, method: str, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a base within the package defines the method with a docstring."""
    for base in filter(None, map(classes.get, base_names(cls))):
        own = [f for f in base.body if isinstance(f, Function) and f.name == method]
        if any(ast.get_docstring(f) for f in own) or documented_in_a_base(base, method, classes):
            return True
    return False


def undocumented(node: ast.Module | ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[tuple[int, str]]:
    """(line, name) of public classes, functions, methods and properties without a docstring."""
    cls = node if isinstance(node, ast.ClassDef) else None
    for child in node.body:
        if not isinstance(child, Function | ast.ClassDef) or child.name.startswith("_"):
            continue
        name = f"{cls.name}.{child.name}" if cls else child.name
        inherited = cls is not None and (child.name in ELSEWHERE or documented_in_a_base(cls, child.name, classes))
        if not ast.get_docstring(child) and not inherited:
            yield child.lineno, name
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, classes)


def test_public_definitions_have_docstrings():
    modules = trees()
    classes = classes_by_name(modules)
    missing = []
    for path, tree in modules.items():
        if tree.body and not ast.get_docstring(tree):
            missing.append(f"{path}:1: the module")
        missing += [f"{path}:{line}: {name}" for line, name in undocumented(tree, classes)]
    assert not missing, "\n".join(missing)


def test_class_names_are_unique():
    names = [n.name for tree in trees().values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    assert sorted(names) == sorted(set(names)), sorted(n for n in set(names) if names.count(n) > 1)


def test_the_rule_can_fail():
    tree = ast.parse(
        '''
class Base:
    """A base."""

    def documented(self):
        """A method."""

    def plain(self): ...


class Derived(Base):
    """Overrides both."""

    def documented(self): ...
    def plain(self): ...
    def _own(self): ...


def function(): ...
'''
    )
    found = undocumented(tree, classes_by_name({"module.py": tree}))
    assert [name for _, name in found] == ["Base.plain", "Derived.plain", "function"]
