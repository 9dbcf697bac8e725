"""What every JSON record of a store is: a dataclass whose fields are the keys of the file, checked as they are read.

Free of torch.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ablatent.core.errors import DataError, short
from ablatent.core.files import read_json
from ablatent.store.identity import Name

R = TypeVar("R", bound="Record")
ABSENT: Mapping[str, Any] = MappingProxyType({})
"""The value of a mapping that the file does not have, which `to_json` therefore leaves out."""
WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


class Record:
    """Base of the records: frozen dataclasses. A field with a default may be missing in the file."""

    @classmethod
    def from_json(cls: type[R], value: Any, where: str) -> R:
        """The record of a JSON object. where: what the message of an error starts with.

        Raises DataError for a missing or unknown field and for a value of another type.
        """
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: expected an object; got {short(value)}.")
        fields = _fields(cls)  # type: ignore[arg-type]  # mypy takes a class of a type variable for unhashable
        missing = [f"no {name!r}" for name, (_, required) in fields.items() if required and name not in value]
        if wrong := missing or [repr(name) for name in value if name not in fields]:
            do = "Did another version write it?"
            raise DataError(f"{where}: expected the fields {', '.join(fields)}; got {wrong[0]}. {do}")
        given = {n: _read(kind, value[n], f"{where}: {n}") for n, (kind, _) in fields.items() if n in value}
        return cls(**given)

    @classmethod
    def read(cls: type[R], path: Path) -> R:
        """The record in a file. Raises DataError for one that cannot be read or is not of this shape."""
        where = f"{path.parent.name}/{path.name}"
        try:
            value = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{where}: expected a JSON object; got {error}.") from None
        return cls.from_json(value, where)

    def to_json(self) -> dict[str, Any]:
        """What the file holds: every field, but those with a default that have no value."""
        fields = [(f, getattr(self, f.name)) for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        return {
            field.name: _plain(value)
            for field, value in fields
            if value is not ABSENT and (value is not None or field.default is dataclasses.MISSING)
        }


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Name → (type, whether the file must have it) of a record's fields."""
    kinds = typing.get_type_hints(cls)
    required = (dataclasses.MISSING, dataclasses.MISSING)
    return {f.name: (kinds[f.name], (f.default, f.default_factory) == required) for f in dataclasses.fields(cls)}


def _read(kind: Any, value: Any, where: str) -> Any:
    """`value` if it is of the type `kind`, with records in place of the objects that are some. Raises DataError."""
    return _reader(kind)(value, where)


@functools.cache
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    """`_read` for one type: a store has many records, so what follows from the type alone is found once."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value, where: value
    if origin is types.UnionType:  # the only union here is with None
        some = _reader(inner[0])
        return lambda value, where: None if value is None else some(value, where)
    if origin is list:
        return functools.partial(_read_list, _reader(inner[0]))
    if origin is Mapping:
        return functools.partial(_read_mapping, inner[0], inner[1])
    if issubclass(kind, Record):
        return kind.from_json
    return functools.partial(_read_name if issubclass(kind, Name) else _read_plain, kind)


def _read_list(item: Callable[[Any, str], Any], value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list; got {short(value)}.")
    return [item(v, f"{where}[{i}]") for i, v in enumerate(value)]


def _read_mapping(key: Any, item: Any, value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected an object; got {short(value)}.")
    if item is Any and key is str and all(type(k) is str for k in value):
        return dict(value)
    name, read = _reader(key), _reader(item)
    return {name(k, where): read(v, f"{where}.{k}") for k, v in value.items()}


def _read_name(kind: type[Name], value: Any, where: str) -> Name:
    try:
        return kind(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    if type(value) is kind:
        return value
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: expected {WORDS[kind]}; got {short(value)}.")
    try:
        return float(value) if kind is float else value
    except OverflowError:
        raise DataError(f"{where}: expected a number; got {short(value)}.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value
