"""Configurations of stored artifacts, as the current code reads them. Free of torch."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablatent.core.errors import StageError
from ablatent.core.instantiate import make
from ablatent.core.targets import TARGET
from ablatent.store.artifacts import Artifact
from ablatent.store.identity import stable_name, with_neutral

PACKAGE = Path(__file__).parents[1]
# What stands in first_stage beside the model's own arguments: of a training, of imported weights.
NOT_MODEL = ("loss", "training", "seed", "digest", "weights")


def make_first_stage(config: Mapping[str, Any]) -> Any:
    """The model of a first_stage node, without its loss, training and seed."""
    from ablatent.first_stage.base import FirstStage

    return make({k: v for k, v in config.items() if k not in NOT_MODEL}, FirstStage)


def stored_config(artifact: Artifact) -> dict[str, Any]:
    """The configuration that an artifact was built from, as the current code reads it.

    Options that were added since have their neutral values, and classes that were moved since have their current paths.
    Raises StageError for a class that no longer exists.
    """
    config: dict[str, Any] = _located(with_neutral(artifact.manifest.config), artifact.key)
    return config


def _located(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        target = value.get(TARGET)
        there = {TARGET: _place(target, key)} if isinstance(target, str) else {}
        return {**{name: _located(item, key) for name, item in value.items()}, **there}
    return [_located(item, key) for item in value] if isinstance(value, list) else value


def _place(target: str, key: str) -> str:
    """The full path of a class of this package, whose stored path may be that of an earlier place."""
    module, _, name = target.rpartition(".")
    if not module.startswith("ablatent.") or _classes().get(module, {}).get(name):
        return target
    stable = stable_name(target)
    for place, names in _classes().items():
        for candidate in names:
            if candidate == name or stable_name(f"{place}.{candidate}") == stable:
                return f"{place}.{candidate}"
    raise StageError(f"{key}: it was built with {target}, and no class of that name exists any more. Build it again.")


@cache
def _classes() -> dict[str, dict[str, bool]]:
    """module → the classes that it defines, over the whole package, without importing any."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("ablatent", *path.relative_to(PACKAGE).with_suffix("").parts))
        found[module] = dict.fromkeys(re.findall(r"^class (\w+)", path.read_text(), re.M), True)
    return found
