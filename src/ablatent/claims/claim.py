"""A claim: a statement that a sweep can support or refute, as an experiment's YAML declares it under `claims`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Fields, Matches, NotNegative, Text

NAME = re.compile(r"[a-z0-9_]+")
SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class Contrast(Fields):
    """Which jobs are set against which, by one score, and what is expected of the effect d = of - against.

    Jobs are chosen by axes: axis → the value, or a list of values, that they have.
    """

    metric: Annotated[Text, "name of the score, as in report.csv"]
    of: Annotated[Mapping[str, Any], "axis → value, or list of values, of the jobs that the claim is about"]
    against: Annotated[Mapping[str, Any], "axis → value, or list of values, of the jobs that they are compared with"]
    expect: Annotated[
        Literal["lower", "higher", "equal"], "the score of `of` is lower or higher than that of `against`, or the same"
    ]
    margin: Annotated[
        NotNegative, "the size of effect that matters, in units of the score, or a share with scale=ratio"
    ]
    scale: Annotated[
        Literal["difference", "ratio"], "the effect is of - against, or log(of / against) beside log(1 + margin)"
    ] = "difference"
    against_metric: Annotated[
        Text | None, "name of the score of `against`, such as a baseline of the same jobs; null: that of `metric`"
    ] = None
    at: Annotated[Mapping[str, Any], "axis → value, or list of values, of the jobs of both"] = field(
        default_factory=dict
    )

    @cached_property
    def axes(self) -> frozenset[str]:
        """The axes in which both arms may differ."""
        return frozenset([*self.of, *self.against])


@dataclass(frozen=True, kw_only=True)
class Claim(Fields):
    """A statement with its source, the contrasts that must all hold, and what would refute it."""

    statement: Annotated[Text, "what is claimed, as a sentence"]
    source: Annotated[Text, "who claims it, and where"]
    refuted_by: Annotated[Text, "what would refute it, as a sentence"]
    contrasts: Annotated[Mapping[str, Contrast], "what is compared: all must hold"]
    id: Annotated[
        Annotated[str, Matches(r"[A-Z]", "a capital letter")] | None, "its letter in docs/claims.md; null: not there"
    ] = None
    unit: Annotated[
        Text | None,
        "kind of stage whose trainings are counted as replicates, or the stage below that several of them share; null: "
        "the last one that a score stands on",
    ] = None


def claims_of(config: Mapping[str, Any]) -> dict[str, Claim]:
    """Name → claim, of a configuration, whose nodes have the declared fields.

    Raises ConfigError for names of other characters, for a claim without contrasts, for arms that no axis tells
    apart, for an axis of `at` that an arm has too, and for an equality without a margin.
    """
    found = {}
    for name, node in (config.get("claims") or {}).items():
        key = f"claims.{name}"
        _check_name(key, name)
        if not node["contrasts"]:
            raise ConfigError(f"{key}.contrasts", "at least one contrast", "none")
        contrasts = {}
        for inner, about in node["contrasts"].items():
            _check_name(f"{key}.contrasts.{inner}", inner)
            contrasts[inner] = Contrast(**about)
            _check_contrast(f"{key}.contrasts.{inner}", contrasts[inner])
        found[name] = Claim(**{**node, "contrasts": contrasts})
    return found


def _check_name(key: str, name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(key, "a name of small letters, digits and _", name)


def _check_contrast(key: str, contrast: Contrast) -> None:
    shared = set(contrast.of) & set(contrast.against)
    other = contrast.against_metric not in (None, contrast.metric)
    if not other and not any(_apart(contrast.of[axis], contrast.against[axis]) for axis in shared):
        do = "Name an axis in both, with values that no job has at once; or another score in against_metric."
        raise ConfigError(f"{key}.against", "jobs that are not those of `of`", dict(contrast.against), do)
    for axis in sorted(set(contrast.at) & contrast.axes):
        raise ConfigError(f"{key}.at.{axis}", "an axis that neither `of` nor `against` has", contrast.at[axis])
    if contrast.expect == "equal" and not contrast.margin:
        do = "No interval lies within a margin of 0."
        raise ConfigError(f"{key}.margin", "a number above 0, with expect=equal", contrast.margin, do)


def _apart(one: Any, other: Any) -> bool:
    """Whether no value is among both."""
    return not any(same_value(a, b) for a in values_of(one) for b in values_of(other))


def values_of(wanted: Any) -> list[Any]:
    """The values that an entry of an arm takes."""
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of an axis, as read by `core.values.axis_value`, are the same: 1 is 1.0, and true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_seed(axis: str) -> bool:
    """Whether an axis is one over seeds."""
    return axis == SEED or axis.endswith(f".{SEED}")
