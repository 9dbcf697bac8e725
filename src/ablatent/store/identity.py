"""What makes two stages the same: a key over kind, version, resolved configuration, inputs and data digests.

A key must not change because a class moved to another file, a comment changed or a new option stands at its neutral
value; it must change with anything that can change the result. Runtime knobs never reach this module: a stage's
configuration is put together by inclusion (stages/KIND/kind.py).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, DataError, short
from ablatent.core.targets import TARGET

N = TypeVar("N", bound="Name")
NEUTRAL = "neutral"
"""The declaration of a class (field → value) by which fields that were added later are left out of keys."""


class Name(str):
    """Text of one form, which may be joined into a path: it cannot lead out of the folder that it is joined to.

    Whatever names a place in a store is one, wherever it came from. Raises DataError for text of another form.
    """

    __slots__ = ()
    FORM: ClassVar[str] = ""
    PATTERN: ClassVar[re.Pattern[str]] = re.compile("")

    def __new__(cls: type[N], text: object) -> N:
        if not isinstance(text, str) or cls.PATTERN.fullmatch(text) is None:
            raise DataError(f"expected {cls.FORM}; got {short(text)}.")
        return super().__new__(cls, text)

    @classmethod
    def typed(cls: type[N], text: object, key: str) -> N:
        """The name that a configuration gives under `key`. Raises ConfigError, which names `key`, for another form."""
        try:
            return cls(text)
        except DataError:
            raise ConfigError(key, cls.FORM, text) from None


class SweepId(Name):
    """The name of a sweep's folder: ``20261124-101500-a1b2``."""

    __slots__ = ()
    FORM = "the id of a sweep (letters, digits, - and _)"
    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class SearchName(Name):
    """The name of a search's folder: as typed, or the digest of what is searched."""

    __slots__ = ()
    FORM = "the name of a search (letters, digits, - and _)"
    PATTERN = SweepId.PATTERN


class FileName(Name):
    """The name of a file of an object, with / between folders."""

    __slots__ = ()
    FORM = "the name of a file below a folder"
    PATTERN = re.compile(r"(?:(?!\.{1,2}(?:/|$))[^/\0]+/)*(?!\.{1,2}$)[^/\0]+")


class Key(Name):
    """The identity of a stored object: ``KIND-0123…``."""

    __slots__ = ()
    FORM = "a key, KIND-DIGEST"
    PATTERN = re.compile(r"[A-Za-z]\w*(?:-\w+)*-[0-9a-f]+", re.ASCII)

    @property
    def kind(self) -> str:
        """The part before the digest; kinds may have dashes of their own."""
        return self.rsplit("-", 1)[0]

    @property
    def short(self) -> str:
        """``KIND-01234567``: enough of it to recognise it in a message."""
        kind, _, code = self.rpartition("-")
        return f"{kind}-{code[:8]}"


def stable_name(target: str) -> str:
    """The name under which a class enters keys.

    Our own classes enter by class name, so that they may move between files (a test keeps the names unique); classes of
    other packages enter by their full path.
    """
    return target.rsplit(".", 1)[-1] if target.startswith("ablatent.") else target


def canonical(value: Any, path: str = "", neutral: Mapping[str, Any] | None = None) -> Any:
    """A JSON value in one spelling: sorted keys, integral floats as ints, no NaN, stable class names.

    Left out: fields at the value that their class declares as `neutral`, and `weights` beside a `digest` (where a
    pretrained file was found does not matter, what is in it does). neutral: of a node without a class, field → value; a
    point leads to a field of a node below it. Raises ConfigError for what is no plain value.
    """
    if isinstance(value, Mapping):
        neutral = declared(value, NEUTRAL, {}) if TARGET in value else neutral or {}
        out = {}
        for key in sorted(value):
            item = value[key]
            if key == TARGET:
                out[key] = stable_name(item)
            elif not (key in neutral and neutral[key] == item) and not (key == "weights" and "digest" in value):
                below = {k.removeprefix(f"{key}."): v for k, v in neutral.items() if k.startswith(f"{key}.")}
                out[key] = canonical(item, f"{path}.{key}", below)
        return out
    if isinstance(value, (list, tuple)):
        return [canonical(v, path) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(path, "a finite number", value)
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ConfigError(path, "a plain value (number, string, list, mapping)", type(value).__name__)


def with_neutral(value: Any) -> Any:
    """A stored configuration with the fields that its classes got later, at their neutral values."""
    if isinstance(value, Mapping):
        stored = {key: with_neutral(item) for key, item in value.items()}
        return {**(declared(value, NEUTRAL, {}) if TARGET in value else {}), **stored}
    return [with_neutral(v) for v in value] if isinstance(value, (list, tuple)) else value


def digest(value: Any) -> str:
    """blake2b-128 of the canonical JSON, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def key_of(
    kind: str,
    version: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    digests: Mapping[str, str],
    neutral: Mapping[str, Any] | None = None,
) -> Key:
    """``kind-0123…``: the identity of a stage.

    inputs: role → key of the stages that it reads; digests: role → content digest of data that it
    reads. neutral: field of the configuration itself, or of a node in it, → the value at which it is left out.
    """
    identity = {
        "kind": kind,
        "version": version,
        "config": canonical(config, kind, neutral),
        "inputs": dict(inputs),
        "data": dict(digests),
    }
    return Key(f"{kind}-{digest(identity)}")
