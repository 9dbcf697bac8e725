"""The fields of nodes, read from the sources of the classes that they name.

Nothing is imported for it, neither torch nor a class that a configuration names.
"""

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Beside, Fields, Ranges, Supplied
from ablatent.core.source import Origin, ancestors, class_node, file_of, imported, origin_of, tree_of
from ablatent.core.targets import TARGET

READ = ("typing", "collections.abc", "annotated_types", "ablatent.core.fields")
"""Modules whose names are imported to evaluate annotations; classes of other modules stay references."""


FILLED = "filled"
"""The declaration of a class with the names of its arguments that no configuration has."""


class _Reference(type):
    """A class that an annotation names, as its place in the source alone."""

    origin: Origin

    def __getattr__(cls, name: str) -> "_Reference":
        if name.startswith("__"):
            raise AttributeError(name)
        return reference(".".join(cls.origin), name)

    def __getitem__(cls, parameters: Any) -> "_Reference":
        return cls

    __iter__ = None


@cache
def reference(module: str, name: str) -> _Reference:
    """The stand-in for a class of that module."""
    return _Reference(name, (), {"origin": (module, name)})


def is_subclass(origin: Origin, base: Origin) -> bool:
    """Whether the sources show that one class is, or derives from, the other."""
    base = origin_of(*base)
    return any(cls == base for cls in ancestors(*origin_of(*origin)))


@dataclass(frozen=True)
class Field:
    """One key of a node. hint: its type, evaluated, with classes as references; required: it has no default."""

    name: str
    hint: Any
    required: bool

    @property
    def metadata(self) -> tuple[Any, ...]:
        """What Annotated holds beside the type, that of a union's members before its own."""
        return tuple(_metadata(self.hint))

    @property
    def meaning(self) -> str:
        """What the value means, with its unit; empty where nothing is declared."""
        return next((m for m in reversed(self.metadata) if isinstance(m, str)), "")


def _metadata(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _metadata(get_args(hint)[0])
        yield from get_args(hint)[1:]
    elif get_origin(hint) in (Union, UnionType):
        for arg in get_args(hint):
            yield from _metadata(arg)


class _Unquoted(ast.NodeTransformer):
    """Turns the quoted type of Annotated["Class", …] into a name."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and inside:
            first = inside[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                inside[0] = ast.parse(first.value, mode="eval").body
        return self.generic_visit(node)


class _Names(dict[str, Any]):
    """The names of a module, as far as its annotations use them."""

    def __init__(self, module: str):
        super().__init__({t.__name__: t for t in (int, float, bool, str, list, tuple, dict, set, type, object, bytes)})
        self.module = module

    def __missing__(self, name: str) -> Any:
        if class_node(self.module, name) is not None:
            return reference(self.module, name)
        origin = imported(self.module, name)
        if origin is not None and origin[0] in READ:
            return getattr(__import__(origin[0], fromlist=[origin[1]]), origin[1])
        if origin is not None:
            own = tree_of(origin[0]) is not None and class_node(*origin) is None and origin[0].startswith("ablatent.")
            return _Names(origin[0])[origin[1]] if own else reference(*origin)
        for node in (tree_of(self.module) or ast.Module([], [])).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id == name and value is not None:
                return self.evaluate(value)
        return reference(self.module, name)

    def evaluate(self, node: ast.expr) -> Any:
        """The value of an annotation or of a constant: of a table, its keys."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.evaluate(ast.parse(node.value, mode="eval").body)
        if isinstance(node, ast.Dict):
            return tuple(k.value for k in node.keys if isinstance(k, ast.Constant))
        expression = ast.fix_missing_locations(ast.Expression(_Unquoted().visit(copy.deepcopy(node))))
        try:
            return eval(compile(expression, self.module, "eval"), {"__builtins__": {}}, self)
        except ConfigError:
            raise
        except Exception as e:
            got = f"line {node.lineno}: {ast.unparse(node)}"
            do = f"{type(e).__name__}: {e}. Are all its names imported?"
            raise ConfigError(str(file_of(self.module)), "an annotation that can be read", got, do) from None


@cache
def fields_of(module: str, name: str) -> Mapping[str, Field]:
    """Key → field, of a class: parameters of its constructor, or fields of a dataclass, in order, bases first."""
    module, name = origin_of(module, name)
    node = class_node(module, name)
    if node is None:
        return {}
    names = _Names(module)
    init = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    out: dict[str, Field] = {}
    if init is None or init.args.kwarg is not None:
        for base in reversed(list(ancestors(module, name))[1:]):
            if class_node(*base) is not None:
                out |= fields_of(*base)
    if init is not None:
        out |= {field.name: field for field in _parameters(init, names)}
    elif _has_fields(module, name, node):
        out |= {field.name: field for field in _attributes(node, names)}
    return out


def _has_fields(module: str, name: str, node: ast.ClassDef) -> bool:
    decorators = [ast.unparse(d) for d in node.decorator_list]
    return any(d.startswith("dataclass") for d in decorators) or is_subclass((module, name), origin_of_class(Fields))


def _parameters(init: ast.FunctionDef, names: _Names) -> Iterator[Field]:
    args = init.args
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(args.defaults)), *args.defaults]
    for arg, default in [
        *list(zip(plain, defaults, strict=True))[1:],
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]:
        yield Field(arg.arg, Any if arg.annotation is None else names.evaluate(arg.annotation), default is None)


def _attributes(node: ast.ClassDef, names: _Names) -> Iterator[Field]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text, value = ast.unparse(statement.annotation), statement.value
            inner = value is not None and "init=False" in ast.unparse(value)
            if not text.startswith("ClassVar") and not inner:
                # a keyword of Python, such as class, has an underscore behind it
                yield Field(statement.target.id.removesuffix("_"), names.evaluate(statement.annotation), value is None)


def places_of(hint: Any) -> tuple[Origin, ...]:
    """The classes whose objects a place of that type takes; empty for a place for values."""
    if isinstance(hint, _Reference):
        return (hint.origin,)
    if get_origin(hint) is Annotated:
        return places_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(place for arg in get_args(hint) for place in places_of(arg))
    return ()


def entries_of(hint: Any) -> Any:
    """The type of the entries of a mapping of nodes, by names of a user's choice; None for other types."""
    if get_origin(hint) is Annotated:
        return entries_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return next(filter(None, map(entries_of, get_args(hint))), None)
    return get_args(hint)[1] if get_origin(hint) is Mapping and places_of(get_args(hint)[1]) else None


def optional(hint: Any) -> bool:
    """Whether null stands for no object."""
    if get_origin(hint) is Annotated:
        return optional(get_args(hint)[0])
    return get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)


def node_fields(node: Mapping[str, Any], origin: Origin, metadata: Sequence[Any] = ()) -> dict[str, Field]:
    """Key → field of a node of that class at a place with such metadata."""
    filled = set(declared(node, FILLED, ()) if TARGET in node else ())
    filled |= {name for rule in metadata if isinstance(rule, Supplied) for name in rule.names}
    fields = {name: field for name, field in fields_of(*origin).items() if name not in filled}
    for rule in metadata:
        if isinstance(rule, Ranges):
            ranges = fields_of(*origin_of_class(rule.keys))
            fields = {name: Field(name, ranges.get(name, field).hint, field.required) for name, field in fields.items()}
        elif isinstance(rule, Beside):
            required = bool(declared(node, rule.where, False))
            beside = fields_of(*origin_of_class(rule.keys))
            fields |= {name: Field(name, field.hint, required) for name, field in beside.items()}
    return fields


def leaves(path: str, value: Any, field: Field) -> Iterator[tuple[str, Any, Field]]:
    """(key, value, field) of every value below a node that was checked, also of null where an object may stand."""
    places, entries = places_of(field.hint), entries_of(field.hint)
    if not isinstance(value, Mapping) or not (places or entries is not None):
        yield path, value, field
    elif entries is not None:
        for name, entry in value.items():
            yield from leaves(f"{path}.{name}", entry, Field(name, entries, True))
    else:
        module, _, name = str(value.get(TARGET, "")).rpartition(".")
        origin = origin_of(module, name) if module else places[0]
        for key, inner in node_fields(value, origin, field.metadata).items():
            if key in value:
                yield from leaves(f"{path}.{key}", value[key], inner)


def origin_of_class(cls: Any) -> Origin:
    """Where a class that is given as such, or as a reference, is defined."""
    return cls.origin if isinstance(cls, _Reference) else (cls.__module__, cls.__qualname__)
