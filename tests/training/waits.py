"""What makes the host wait for its device: noticed on a CPU, where nothing waits, by the calls that would."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "is_nonzero", "equal"}
"""Operators that give a number of a tensor to the host: item, float, bool, int …"""
SIZES = {"nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"}
"""Operators whose results are as long as their numbers say."""
COPIES = {
    torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__, torch.tensor, torch.as_tensor,
    torch.from_numpy,
}  # fmt: skip
"""Functions that copy from the device, or to it."""


class Waits(TorchDispatchMode):
    """Inside, `seen` gets (what `when` says, the name) of each call that would wait; also those of backward passes."""

    def __init__(self, when: Callable[[], Any]):
        super().__init__()
        self.when, self.seen = when, []
        self.functions = _Functions(self)

    def note(self, name: str) -> None:
        self.seen.append((self.when(), name))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in READS | SIZES or (name in ("index", "index_put", "index_put_") and _by_mask(args[1])):
            self.note(name)
        if name == "_to_copy" and str((kwargs or {}).get("device", "")) == "cpu" and args[0].device.type != "cpu":
            self.note(name)
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        return self.functions.__exit__(*error)


class _Functions(TorchFunctionMode):
    def __init__(self, waits: Waits):
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in COPIES:
            self.waits.note(func.__name__)
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Any) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
