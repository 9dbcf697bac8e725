"""The state of a training at its end, as tensors and JSON: the same bytes for the same state, as no pickle has."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ablatent.core.tensor_files import write_tensors

PLAIN = "plain"
"""The entry of the file's header with all that is no tensor."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, on any device, and plain values as a safetensors file. A dict may have
    whole numbers for keys, and comes back in their order; tuples become lists."""
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_packed(dict(state), "", tensors))
    write_tensors(path, tensors, {PLAIN: plain})


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` has written, its tensors in main memory."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        state: dict[str, Any] = _unpacked(json.loads(file.metadata()[PLAIN]), tensors)
    return state


def _packed(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """A value for JSON; its tensors are put under the names of their places."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {"tensor": place}
    if isinstance(value, Mapping):
        pairs = sorted(value.items(), key=lambda pair: (isinstance(pair[0], str), pair[0]))
        return {"items": [[key, _packed(item, f"{place}/{key}", tensors)] for key, item in pairs]}
    if isinstance(value, list | tuple):
        return [_packed(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpacked(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    return value
