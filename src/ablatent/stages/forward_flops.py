"""Floating-point operations of a network's forward pass, counted while it runs.

torch.utils.flop_counter counts the same below autograd; it imports torch's compiler for that, for a second of planning.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

T = TypeVar("T")


def _convolution(out: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * weight[0].numel()


def _transposed(out: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * weight[0].numel()


def _linear(out: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * weight.shape[-1]


def _product(out: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    return 2 * out.numel() * a.shape[-1]


def _sum_and_product(out: Tensor, c: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    return _product(out, a, b)


def _attention(out: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    weights = out[..., 0].numel() * key.shape[-2]  # of all heads: queries times keys
    return 2 * weights * (query.shape[-1] + value.shape[-1])


FORMULAS: Mapping[Any, Callable[..., int]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _convolution),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _transposed),
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm), _product),
    **dict.fromkeys((torch.addmm, torch.baddbmm), _sum_and_product),
    F.linear: _linear,
    F.scaled_dot_product_attention: _attention,
}
"""Function → (result, arguments …) -> operations. What is not here (norms, activations, torch's own modules that
attend) counts as none."""


class ForwardFlops(TorchFunctionMode):
    """Adds up the operations of convolutions, matrix products and attention that are called inside; a multiplication
    and its addition are two. Backward passes are not seen, values are not read: tensors may be fake."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def of_first(self, items: Iterator[T]) -> Iterator[T]:
        """The items, of which making the first one is counted."""
        with self:
            first = next(items, None)
        if first is not None:
            yield first
            yield from items

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := FORMULAS.get(func)) is not None:
            self.total += formula(out, *args, **(kwargs or {}))
        return out
