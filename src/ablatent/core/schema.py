"""The fields of nodes, read from the sources of the classes that they name, and the check of values against them.

Nothing is imported for it, neither torch nor a class that a configuration names: what a place does not expect is
refused before its module could run.
"""

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Beside, Fields, Modules, Ranges, Supplied, choices, fits, form_of, wording
from ablatent.core.source import Origin, ancestors, class_node, imported, origin_of, tree_of
from ablatent.core.targets import OTHERS, TARGET, check_module

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
        return eval(compile(expression, self.module, "eval"), {"__builtins__": {}}, self)


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
    return any(d.startswith("dataclass") for d in decorators) or is_subclass((module, name), _origin(Fields))


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


def check_value(path: str, value: Any, field: Field) -> None:
    """Raise ConfigError unless a value, or the node with all below it, is what its field declares."""
    places, entries = places_of(field.hint), entries_of(field.hint)
    if value is None and (places or entries is not None) and optional(field.hint):
        return
    if entries is not None:
        if not isinstance(value, Mapping) or TARGET in value:
            raise ConfigError(path, "a mapping of names to nodes", value)
        for name, entry in value.items():
            check_value(f"{path}.{name}", entry, Field(name, entries, True))
    elif not places:
        if any(TARGET in mapping for mapping in _mappings(value)):
            raise ConfigError(path, wording(field.hint), value, f"A value takes no {TARGET}.")
        if not fits(value, field.hint):
            do = did_you_mean(str(value), choices(field.hint)) or form_of(path, field.hint, value)
            raise ConfigError(path, wording(field.hint), value, do)
    elif not isinstance(value, Mapping):
        if not fits(value, field.hint):  # a path may be text or an object
            raise ConfigError(path, f"a node of {_named(places)}", value)
    else:
        check_node(path, value, places, field.metadata)


def check_node(path: str, node: Mapping[str, Any], places: Sequence[Origin], metadata: Sequence[Any] = ()) -> None:
    """Raise ConfigError unless a node names a class that its place expects, and has the fields of that class.

    places: the classes that are expected; metadata: of the place, see `Modules`, `Beside` and `Ranges`.
    """
    if TARGET not in node and is_subclass(places[0], _origin(Fields)):
        check_fields(path, node, fields_of(*places[0]))
    else:
        modules = [m.name for m in metadata if isinstance(m, Modules)]
        origin = check_target(f"{path}.{TARGET}", node.get(TARGET), places, modules)
        check_fields(path, node, node_fields(node, origin, metadata))


def node_fields(node: Mapping[str, Any], origin: Origin, metadata: Sequence[Any] = ()) -> dict[str, Field]:
    """Key → field of a node of that class at a place with such metadata."""
    filled = set(declared(node, FILLED, ()) if TARGET in node else ())
    filled |= {name for rule in metadata if isinstance(rule, Supplied) for name in rule.names}
    fields = {name: field for name, field in fields_of(*origin).items() if name not in filled}
    for rule in metadata:
        if isinstance(rule, Ranges):
            ranges = fields_of(*_origin(rule.keys))
            fields = {name: Field(name, ranges.get(name, field).hint, field.required) for name, field in fields.items()}
        elif isinstance(rule, Beside):
            required = bool(declared(node, rule.where, False))
            beside = fields_of(*_origin(rule.keys))
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


def check_target(path: str, target: Any, places: Sequence[Origin], modules: Sequence[str] = ()) -> Origin:
    """Where the class that a `_target_` names is defined.

    Raises ConfigError unless it is a class of this package, of `modules` or of a package of the user's own, and one
    that the place expects. Nothing is imported for it.
    """
    wanted = f"a class of {_named(places)}" if places else "a class"
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(path, wanted, target, "Choose an option of the config group.")
    module, _, name = target.rpartition(".")
    check_module(path, module, modules)
    origin = origin_of(module, name)
    if class_node(*origin) is None:
        raise ConfigError(path, wanted, target, "The source of its module shows no such class.")
    if places and not any(is_subclass(origin, place) for place in places):
        raise ConfigError(path, wanted, target)
    return origin


def check_targets(node: Any, expected: type) -> None:
    """Raise ConfigError unless a node, and every node below it, names a class that its place expects.

    expected: the class at the place of the node; `object` for any class of this package or of the user's own.
    """
    places = [] if expected is object else [_origin(expected)]
    _check_targets(TARGET, node, Field("", Any, True), places)


def _check_targets(path: str, node: Any, field: Field, places: Sequence[Origin] | None = None) -> None:
    places = places_of(field.hint) if places is None else places
    entries = entries_of(field.hint)
    if entries is not None and isinstance(node, Mapping):
        for name, entry in node.items():
            _check_targets(f"{path}.{name}", entry, Field(name, entries, True))
    elif isinstance(node, Mapping) and TARGET in node and (places or path == TARGET):
        modules = [*(m.name for m in field.metadata if isinstance(m, Modules)), *(OTHERS if path == TARGET else ())]
        fields = node_fields(node, check_target(f"{path}.{TARGET}", node[TARGET], places, modules), field.metadata)
        for key, value in node.items():
            if key.startswith("_") and key != TARGET:
                raise ConfigError(key, "a key of the class", value)
            _check_targets(f"{path}.{key}", value, fields.get(key, Field(key, Any, False)))
    elif any(TARGET in mapping for mapping in _mappings(node)):
        raise ConfigError(path, wording(field.hint), node, f"A value takes no {TARGET}.")


def check_fields(path: str, node: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Raise ConfigError for a key that no field declares, for a field that is missing, and for a wrong value.

    path: the key of the node, empty for a whole configuration.
    """
    at = f"{path}." if path else ""
    for key, value in node.items():
        if key not in fields and key != TARGET:
            expected = f"a key of {path or 'the configuration'} ({', '.join(fields)})"
            raise ConfigError(f"{at}{key}", expected, value, did_you_mean(key, fields))
    for name, field in fields.items():
        if name in node:
            check_value(f"{at}{name}", node[name], field)
        elif field.required:
            do = "The key was removed: it cannot be left out."
            raise ConfigError(f"{at}{name}", _expected(field), "nothing", do)


def _expected(field: Field) -> str:
    """What a field takes, in words."""
    places = places_of(field.hint)
    return f"a node of {_named(places)}" if places else wording(field.hint)


def _named(places: Sequence[Origin]) -> str:
    return " or ".join(name for _, name in places)


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a value, at any depth."""
    if isinstance(value, Mapping):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for item in items:
        yield from _mappings(item)


def _origin(cls: Any) -> Origin:
    """Where a class that is given as such, or as a reference, is defined."""
    return cls.origin if isinstance(cls, _Reference) else (cls.__module__, cls.__qualname__)
