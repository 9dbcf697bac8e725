"""Types of configuration values with their ranges, and how they are checked and worded. Free of torch.

A field of a node of the configuration is declared once, as a parameter of the constructor (or a field of the
dataclass) that reads it: its type, its range, and what it means::

    eta: Annotated[float, Ge(0), Le(1), "0: deterministic; 1: DDPM"] = 0.0

Planning, error messages and docs/configuration.md all come from there; see `core.schema`.
"""

import operator
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt


@dataclass(frozen=True, init=False)
class OneOf:
    """One of some names or numbers, for example those of a table of functions."""

    names: tuple[Any, ...]

    def __init__(self, names: Collection[Any]):
        object.__setattr__(self, "names", tuple(names))


@dataclass(frozen=True)
class Matches:
    """Text that fits a regular expression as a whole. form: what such text is, for messages."""

    pattern: str
    form: str


@dataclass(frozen=True, init=False)
class Supplied:
    """Of a place for an object: arguments that follow from other options, and stand in no configuration."""

    names: tuple[str, ...]

    def __init__(self, *names: str):
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class Modules:
    """Of a place for an object: a module of another package whose classes may stand there too."""

    name: str


@dataclass(frozen=True)
class Beside:
    """Of a place for an object: further keys of its node, which are the fields of `keys`, for other readers.

    They must be there for a class that declares the attribute `where` as true.
    """

    keys: type
    where: str


@dataclass(frozen=True)
class Ranges:
    """Of a place for an object of another package: ranges of its arguments, which are the fields of `keys`."""

    keys: type


class Fields:
    """Base of the dataclasses that describe a node without `_target_`: its keys are their fields."""


Count = Annotated[int, Ge(1)]
"""A number of things of which there is at least one."""
Whole = Annotated[int, Ge(0)]
"""A number of things, or steps, of which there may be none."""
Seed = Annotated[int, Ge(0), Lt(2**63)]
Number = float | int
"""Where whole numbers are written without a point."""
Positive = Annotated[Number, Gt(0)]
NotNegative = Annotated[Number, Ge(0)]
Share = Annotated[Number, Ge(0), Le(1)]
Probability = Annotated[Number, Ge(0), Lt(1)]
"""With which something is dropped: not always."""
AverageWidth = Annotated[Number, Gt(0), Lt(0.2886)]
"""sigma_rel of a power-function average of weights (Karras et al. 2024); the mean of all steps has 1 / sqrt(12)."""
Betas = Annotated[Sequence[Probability], Len(2, 2)]
"""Decay rates of Adam's first and second moment."""
Range = Annotated[Sequence[Share], Len(2, 2)]
Text = Annotated[str, Matches(r"(?s).+", "text")]
Sha256 = Annotated[str, Matches(r"[0-9a-f]{8,64}", "a SHA-256, or its first 8 or more digits, in hexadecimal")]
Digest = Annotated[str, Matches(r"[0-9a-f]{32}", "a digest of 32 hexadecimal digits")]
StageKey = Annotated[str, Matches(r"[\w-]+-[0-9a-f]+", "the key of a stored stage, KIND-0123…")]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
WeightsName = Annotated[
    str, Matches(r"raw|ema(_[\w.+-]+)?", "raw, ema, or ema_DECAY for one of training.ema.extra_decays")
]

BOUNDS: dict[type, tuple[Any, str]] = {
    Ge: (operator.ge, "ge"),
    Gt: (operator.gt, "gt"),
    Le: (operator.le, "le"),
    Lt: (operator.lt, "lt"),
}


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type, and in its range. Whole numbers count as float; true and false are no
    numbers; inf and nan are no values."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, args[0]) and all(_holds(value, rule) for rule in args[1:])
    if origin in (Union, UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if hint is Any:
        return True
    if hint in (None, NoneType):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(v, args[1]) for v in value.values() if args)
    if isinstance(kind, type) and issubclass(kind, Sequence) and kind is not str:
        items = args[0] if args else Any
        return isinstance(value, list | tuple) and all(fits(v, items) for v in value)
    return isinstance(kind, type) and isinstance(value, kind)


def _holds(value: Any, rule: Any) -> bool:
    """Whether a value of the right type obeys one piece of the metadata of Annotated."""
    if type(rule) in BOUNDS:
        holds, name = BOUNDS[type(rule)]
        return bool(holds(value, getattr(rule, name)))
    if isinstance(rule, Len):
        return rule.min_length <= len(value) and (rule.max_length is None or len(value) <= rule.max_length)
    if isinstance(rule, OneOf):
        return value in rule.names
    return re.fullmatch(rule.pattern, value) is not None if isinstance(rule, Matches) else True


def wording(hint: Any, plural: bool = False) -> str:
    """What a type expects, in words: "an integer of 1 or more", "a list of 2 numbers from 0 to below 1"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(args[0], args[1:], plural)
    if origin in (Union, UnionType) and set(args) == {float, int}:
        return wording(float, plural)
    if origin in (Union, UnionType):
        words = [wording(a, plural) for a in args if a is not NoneType]
        return " or ".join([*words, *(["null"] if NoneType in args else [])])
    if origin is Literal:
        return f"{'each ' if plural else ''}{_listed([str(a) for a in args])}"
    kind = origin or hint
    names = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "value", NoneType: "null"}
    if kind in names:
        word = names[kind]
        if kind in (int, float, Any):
            return f"{word}s" if plural else f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
        return word
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return f"a mapping of names to {wording(args[1], plural=True)}" if args else "a mapping"
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return f"{'lists' if plural else 'a list'} of {wording(args[0], plural=True) if args else 'values'}"
    return f"{'nodes' if plural else 'a node'} of {getattr(kind, '__name__', kind)}"


def choices(hint: Any) -> tuple[str, ...]:
    """The names that a type lists, for suggestions."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return tuple(str(a) for a in args)
    names = tuple(str(name) for rule in args[1:] if isinstance(rule, OneOf) for name in rule.names)
    inner = args[:1] if origin is Annotated else args if origin in (Union, UnionType) else ()
    return names + tuple(name for arg in inner for name in choices(arg))


def _bounded(base: Any, rules: Sequence[Any], plural: bool) -> str:
    """The words of a type with the metadata of Annotated."""
    for rule in rules:
        if isinstance(rule, OneOf):
            return _listed([str(name) for name in rule.names])
        if isinstance(rule, Matches):
            return rule.form
    text = wording(base, plural)
    lengths = [rule for rule in rules if isinstance(rule, Len)]
    for rule in lengths:
        number = f"{rule.min_length}" if rule.min_length == rule.max_length else f"at least {rule.min_length}"
        text = text.replace(" of ", f" of {number} ", 1)
    low = next((rule for rule in rules if isinstance(rule, Ge | Gt)), None)
    high = next((rule for rule in rules if isinstance(rule, Le | Lt)), None)
    if isinstance(high, Lt) and high.lt == 2**63:
        high = None  # the end of 64-bit seeds is no news
    if low is None and high is None:
        return text
    if low is not None and high is None:
        return f"{text} of at least {low.ge}" if isinstance(low, Ge) else f"{text} above {low.gt}"
    upper = "" if high is None else (f"{high.le}" if isinstance(high, Le) else f"below {high.lt}")
    if low is None:
        return f"{text} of at most {upper}" if isinstance(high, Le) else f"{text} {upper}"
    if isinstance(low, Ge):
        return f"{text} from {low.ge} to {upper}"
    return f"{text} above {low.gt} and {upper}" if isinstance(high, Lt) else f"{text} above {low.gt}, up to {upper}"


def form_of(key: str, hint: Any, value: Any) -> str:
    """How a list is typed, for a single value where a list is expected; else empty."""
    kind = get_origin(get_args(hint)[0]) if get_origin(hint) is Annotated else get_origin(hint)
    listed = isinstance(kind, type) and issubclass(kind, Sequence)
    return f"Type {key}=[{value}]." if listed and not isinstance(value, list | tuple | Mapping) else ""


def _listed(names: list[str]) -> str:
    """'a, b or c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
