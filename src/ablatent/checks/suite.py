"""Invariants: what holds of every option of a config group, for `do=check` and for the tests of the shipped options.

`ablatent.checks.GROUP` has those of a group, each a function of an `Option` that raises `Broken` where it does not
hold; `ablatent.checks.common` has those of all options. The statement of an invariant is the docstring of its function.
"""

import importlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ablatent.checks.option import Option
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.source import file_of

Check = Callable[[Option], None]
COMMON = "common"


class Broken(AblatentError):
    """An invariant that does not hold. expected: what should be, in words; got: what came."""

    def __init__(self, expected: str, got: object):
        self.expected, self.got = expected, got
        super().__init__(f"expected {expected}; got {got}.")


class NotChecked(AblatentError):
    """An invariant that could not be looked at, with the reason: the job that is checked lacks what it takes."""


@dataclass(frozen=True)
class Invariant:
    """One property of all options of a group. statement: in one sentence; check: raises where it does not hold."""

    name: str
    statement: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """Whether an invariant holds of an option. broken: what was expected and what came; None where it holds. skipped:
    why it was not looked at; None where it was."""

    invariant: Invariant
    broken: str | None = None
    skipped: str | None = None


def invariant(check: Check) -> Check:
    """Marks a function of an option as an invariant of the group of its module."""
    check.__dict__["is_invariant"] = True
    return check


def invariants_of(group: str) -> list[Invariant]:
    """The invariants of a group in the order of their module, those of all options first."""
    modules = [name for name in (COMMON, group) if file_of(f"{__package__}.{name}") is not None]
    return [found for name in modules for found in _in(importlib.import_module(f"{__package__}.{name}"))]


def _in(module: ModuleType) -> Iterator[Invariant]:
    for name, value in vars(module).items():
        if getattr(value, "is_invariant", False):
            yield Invariant(name, " ".join((value.__doc__ or "").split()), value)


def findings(option: Option) -> Iterator[Finding]:
    """Every invariant of an option's group, one after the other, and whether it holds.

    What an option's own code raises is a finding, too: it stops no other invariant.
    """
    for found in invariants_of(option.group):
        try:
            found.check(option)
            yield Finding(found)
        except NotChecked as e:
            yield Finding(found, skipped=str(e))
        except AblatentError as e:
            yield Finding(found, str(e))
        except Exception as e:  # of the option
            yield Finding(found, raised(e, option))


def raised(error: Exception, option: Option) -> str:
    """'TYPE: MESSAGE (FILE:LINE)' of what an option's own code raised."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'without a message'} ({_raised_at(error, option)})"


def _raised_at(error: Exception, option: Option) -> str:
    """FILE:LINE of the option's own module that was run last, or of where it was raised if that was never run."""
    frames = traceback.extract_tb(error.__traceback__)
    own = str(file_of(option.origin[0])) if option.origin is not None else None
    frame = next((f for f in reversed(frames) if f.filename == own), frames[-1])
    return f"{frame.filename}:{frame.lineno}"


def expect(holds: object, expected: str, got: object) -> None:
    """Raise Broken unless it holds."""
    if not bool(holds):
        raise Broken(expected, got)


def expect_near(actual: Tensor, wanted: Tensor, expected: str, rtol: float, atol: float) -> None:
    """Raise Broken unless two tensors agree in shape, and in value within the tolerances."""
    if actual.shape != wanted.shape:
        raise Broken(f"{expected}, of shape {tuple(wanted.shape)}", f"the shape {tuple(actual.shape)}")
    a, b = actual.detach().double(), wanted.detach().double()
    if not torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=False):
        raise Broken(expected, f"values that are up to {float((a - b).abs().max()):.3g} away")


def expect_refused(call: Callable[[], Any], key: str, expected: str) -> None:
    """Raise Broken unless a call raises a ConfigError of that key, or of a key below one that ends in a point.

    expected: what should happen, in words.
    """
    try:
        call()
    except ConfigError as e:
        named = e.key.startswith(key) if key.endswith(".") else e.key == key
        expect(named, f"{expected}, by an error that names {key}", f"one that names {e.key}")
    else:
        raise Broken(f"{expected}, by an error that names {key}", "no error")
