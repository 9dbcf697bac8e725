"""Mistakes in every value of every option of conf/, made from what its field declares."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt

from ablatent.core.errors import ConfigError
from ablatent.core.fields import fits
from ablatent.core.schema import Field, leaves, places_of
from ablatent.core.validation import check_value
from ablatent.stages.job_fields import job_fields
from commands import ROOT
from composing import composed

ELSEWHERE = {"metric": "+metric@evaluation.metrics.x", "extractor": "extractor@evaluation.extractor"}
"""Groups whose options stand at another key → what chooses one there."""
NO_OPTIONS = ("hydra", "do", "executor", "stage", "recipe")
GIVEN = {"root": "/", "betas": "[0.1,0.2]"}
"""Values for keys that have none in conf/."""


@cache
def compositions() -> list[tuple[str, ...]]:
    """Overrides, the k-th options of all groups together, under which every option is composed at least once."""
    groups: dict[str, list[str]] = {}
    for folder in sorted(p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name not in NO_OPTIONS):
        for file in sorted(folder.glob("*.yaml")):
            missing = [k for k, v in yaml.safe_load(file.read_text()).items() if v == "???"]
            key = ELSEWHERE.get(folder.name, folder.name)
            option = " ".join([f"{key}={file.stem}", *(f"{key}.{k}={GIVEN[k]}" for k in missing)])
            groups.setdefault(folder.name, []).append(option)
    longest = max(map(len, groups.values()))
    return [
        tuple(word for options in groups.values() for word in options[k % len(options)].split()) for k in range(longest)
    ]


@dataclass(frozen=True)
class Mistake:
    """One value put in the place of a right one. kind: wrong type | below | above | null | misspelt | misplaced."""

    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    key: str
    kind: str
    value: Any

    def error(self) -> ConfigError | None:
        """What the check of its field says of it; None where it is accepted."""
        top, *below = self.key.split(".")
        node = {top: copy.deepcopy(self.config[top])}
        at: Any = node
        for part in self.key.split(".")[:-1]:
            at = at[part]
        if self.kind == "misspelt":
            at[f"{below[-1]}x"] = at.pop(below[-1])
        elif self.kind == "misplaced":
            top, node = "latents", {"latents": {**self.config["latents"], f"{below[-1]}_": at[below[-1]]}}
        else:
            at[self.key.rpartition(".")[2]] = self.value
        try:
            check_value(top, node[top], job_fields()[top])
        except ConfigError as e:
            return e
        return None

    @property
    def named(self) -> str:
        """The key that the error must name."""
        if self.kind == "misplaced":
            return "latents."
        return f"{self.key}x" if self.kind == "misspelt" else self.key

    @property
    def typed(self) -> str:
        """It as an override of the command line."""
        if self.kind == "misspelt":
            return f"{self.key}x=1"
        if self.kind == "misplaced":
            return f"latents.{self.key.rpartition('.')[2]}=1"
        return f"{self.key}={json.dumps(self.value)}"


def mistakes() -> Iterator[Mistake]:
    """Every mistake, each once for each distinct field at a key."""
    seen: set[tuple[str, str]] = set()
    for overrides in compositions():
        config = composed(*overrides)
        for key, field in job_fields().items():
            for path, value, leaf in leaves(key, config[key], field):
                name = (path, repr(leaf.hint))
                if name not in seen and not places_of(leaf.hint):
                    seen.add(name)
                    for kind, wrong in wrong_values(leaf, value):
                        yield Mistake(overrides, config, path, kind, wrong)
                    if "." in path:
                        yield Mistake(overrides, config, path, "misspelt", None)
                        yield Mistake(overrides, config, path, "misplaced", None)


def wrong_values(field: Field, value: Any) -> Iterator[tuple[str, Any]]:
    """(kind, value) of values that the declaration of a field excludes."""
    for wrong in ("maybe", [["x"]], 0.5, 7, True):
        if not fits(wrong, field.hint) and type(wrong) is not type(value):
            yield "wrong type", wrong
            break
    for kind, outside in _outside(field.hint):
        if not fits(outside, field.hint):
            yield kind, outside
    if not fits(None, field.hint):
        yield "null", None
    if get_origin(field.hint) is not Any and isinstance(value, str) and not fits("nothing like it", field.hint):
        yield "wrong type", "nothing like it"


def _outside(hint: Any) -> Iterator[tuple[str, Any]]:
    """(below | above, value) just beyond the bounds of a type, lists of such values included."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for rule in args[1:]:
            if isinstance(rule, Ge):
                yield "below", rule.ge - 1
            if isinstance(rule, Gt):
                yield "below", rule.gt
            if isinstance(rule, Le):
                yield "above", rule.le + 1
            if isinstance(rule, Lt):
                yield "above", rule.lt
        yield from _outside(args[0])
    elif origin in (Union, type(int | None)):
        for arg in args:
            yield from _outside(arg)
    elif origin is not Literal and args and not isinstance(origin, type(Mapping)):
        yield from ((kind, [value, value]) for kind, value in _outside(args[0]))
    elif origin is not Literal and args:
        yield from ((kind, [value, value]) for kind, value in _outside(args[-1]))
