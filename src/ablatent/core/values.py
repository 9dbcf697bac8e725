"""Values of nested configurations by dotted keys."""

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any


def get(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, or None."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def without(value: Any, *names: str) -> Any:
    """A nested configuration without the keys of these names, at any depth."""
    if isinstance(value, Mapping):
        return {k: without(v, *names) for k, v in value.items() if k not in names}
    return value


def leaves(value: Any) -> Iterator[Any]:
    """Every value of a nested configuration that is no mapping and no list."""
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    else:
        yield value


def axis_value(text: Any) -> Any:
    """An override's value as it was meant: numbers and true/false/null from their text, other text as it is; inf and
    nan are text, since JSON has no such numbers."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)  # Hydra writes True
    except ValueError:
        try:
            value = float(text)  # 1e-3 and .5 are numbers on the command line, but not JSON
        except ValueError:
            return text
    return value if isinstance(value, bool | int | None) or is_finite(value) else text


def is_finite(value: Any) -> bool:
    """Whether a value is a float that JSON has: neither inf nor nan."""
    return isinstance(value, float) and isfinite(value)


def for_record(value: Any) -> Any:
    """A nested configuration with inf and nan as text: of a job that was refused for them, say."""
    if isinstance(value, Mapping):
        return {name: for_record(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [for_record(inner) for inner in value]
    return str(value) if isinstance(value, float) and not is_finite(value) else value
