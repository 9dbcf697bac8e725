"""What makes two stages the same: a key over kind, version, resolved configuration, inputs and data digests.

A key must not change because a class moved to another file, a comment changed or a new option stands at its neutral
value; it must change with anything that can change the result. Runtime knobs never reach this module: a stage's
configuration is put together by inclusion (stages/graph.py).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.store.neutral import NEUTRAL, RENAMED

TARGET = "_target_"


def stable_name(target: str) -> str:
    """The name under which a class enters keys.

    Our own classes enter by class name, so that they may move between files (a test keeps the names unique within
    conf/); classes of other packages enter by their full path. A renamed class keeps its old name through RENAMED.
    """
    name = target.rsplit(".", 1)[-1] if target.startswith("ablatent.") else target
    return RENAMED.get(name, name)


def canonical(value: Any, path: str = "") -> Any:
    """A JSON value in one spelling: sorted keys, integral floats as ints, no NaN, stable class names.

    Left out: fields at their declared neutral value, and `weights` beside a `digest` (where a pretrained file was
    found does not matter, what is in it does). Raises ConfigError for NaN, infinity, and values that are not plain.
    """
    if isinstance(value, Mapping):
        owner = stable_name(value[TARGET]) if TARGET in value else path
        neutral = NEUTRAL.get(owner, {})
        out = {}
        for key in sorted(value):
            item = value[key]
            if key == TARGET:
                out[key] = stable_name(item)
            elif not (key in neutral and neutral[key] == item) and not (key == "weights" and "digest" in value):
                out[key] = canonical(item, f"{path}.{key}")
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


def with_neutral(value: Any, path: str = "") -> Any:
    """A stored configuration with the fields that came later, at their neutral values: what today's code reads."""
    if isinstance(value, Mapping):
        owner = stable_name(value[TARGET]) if TARGET in value else path
        known = {key: with_neutral(item, f"{path}.{key}") for key, item in value.items()}
        return {**NEUTRAL.get(owner, {}), **known}
    return [with_neutral(v, path) for v in value] if isinstance(value, (list, tuple)) else value


def digest(value: Any) -> str:
    """blake2b-128 of the canonical JSON, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def key_of(
    kind: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str], digests: Mapping[str, str]
) -> str:
    """``kind-0123…``: the identity of a stage.

    inputs: role → key of the stages that it reads; digests: role → content digest of data that it reads.
    """
    identity = {
        "kind": kind,
        "version": version,
        "config": canonical(config, kind),
        "inputs": dict(inputs),
        "data": dict(digests),
    }
    return f"{kind}-{digest(identity)}"
