"""What stages take of a cluster, by kind: what engines with such a table share."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import Fields

R = TypeVar("R", bound="KindResources")
DEFAULT = "default"
"""The entry of `resources` for every kind."""
KEY = "executor.resources"


@dataclass(kw_only=True)
class KindResources(Fields):
    """Base of what a stage of a kind takes: its fields are null where `default` has them."""

    def over(self: R, other: R) -> R:
        """These, and those of `other` where they say nothing; of mappings, the entries of both."""
        own = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) is not None}
        for name, value in own.items():
            if isinstance(value, Mapping):
                own[name] = {**(getattr(other, name) or {}), **value}
        return dataclasses.replace(other, **own)


def check_kinds(resources: Mapping[str, Any], kinds: Collection[str]) -> None:
    """Raise ConfigError for an entry of no kind. kinds: all that there are."""
    known = (DEFAULT, *sorted(kinds))
    for kind, given in resources.items():
        if kind not in known:
            do = did_you_mean(kind, known)
            raise ConfigError(f"{KEY}.{kind}", f"a kind of stage ({', '.join(known)})", dict(given), do)
