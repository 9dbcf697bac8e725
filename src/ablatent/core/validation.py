"""Values and nodes of configurations, checked against the fields that declare them.

What a place does not expect is refused before its module could run: nothing is imported for a check.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Fields, Modules, choices, fits, form_of, wording
from ablatent.core.schema import (
    Field,
    entries_of,
    fields_of,
    is_subclass,
    node_fields,
    optional,
    origin_of_class,
    places_of,
)
from ablatent.core.source import Origin, class_node, origin_of
from ablatent.core.targets import OTHERS, TARGET, check_module


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
    origin = check_class(path, node, places, metadata)
    check_fields(path, node, fields_of(*places[0]) if origin is None else node_fields(node, origin, metadata))


def check_class(
    path: str, node: Mapping[str, Any], places: Sequence[Origin], metadata: Sequence[Any] = ()
) -> Origin | None:
    """Where the class that a node names is defined; None for a node of plain fields, which names none.

    Raises ConfigError unless its place expects such a class; places, metadata: as of `check_node`.
    """
    if TARGET not in node and is_subclass(places[0], origin_of_class(Fields)):
        return None
    modules = [m.name for m in metadata if isinstance(m, Modules)]
    return check_target(f"{path}.{TARGET}", node.get(TARGET), places, modules)


def check_target(path: str, target: Any, places: Sequence[Origin], modules: Sequence[str] = ()) -> Origin:
    """Where the class that a `_target_` names is defined.

    Raises ConfigError unless it is a class of this package, of `modules` or of a package of the user's own, and one
    that the place expects. Nothing is imported for it.
    """
    wanted = f"a class of {_named(places)}" if places else "a class"
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(path, wanted, target, "An option of the config group has it: choose one, or mend its YAML.")
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
    places = [] if expected is object else [origin_of_class(expected)]
    _check_targets(TARGET, node, Field("", Any, True), places)


def _check_targets(path: str, node: Any, field: Field, places: Sequence[Origin] | None = None) -> None:
    places = places_of(field.hint) if places is None else places
    entries = entries_of(field.hint)
    if entries is not None and isinstance(node, Mapping):
        for name, entry in node.items():
            _check_targets(f"{path}.{name}", entry, Field(name, entries, True))
    elif isinstance(node, Mapping) and TARGET in node and (places or path == TARGET):
        modules = [*(m.name for m in field.metadata if isinstance(m, Modules)), *(OTHERS if path == TARGET else ())]
        at = path if path == TARGET else f"{path}.{TARGET}"
        fields = node_fields(node, check_target(at, node[TARGET], places, modules), field.metadata)
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
            do = "It cannot be left out: it stands in the YAML of each option, and ~ cannot delete it."
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
