"""Cost of a training step: memory of weights, optimizer state and saved activations, and the operations of a pass."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ablatent.stages.check_helpers import SMALL, parameter_count
from ablatent.stages.forward_flops import ForwardFlops
from ablatent.stages.kind_base import Size

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# Bytes a parameter in float32: the weight, its gradient and Adam's two moments; and for each average of the weights.
STATE_BYTES, EMA_BYTES = 16, 4
# Positions of an image or latent (height times width) up to which a small network is quickly tried.
QUICK = 2**12


def saved_activation_bytes(module: nn.Module, forward: Callable[[], Any], precision: str) -> int:
    """Bytes of all tensors that autograd keeps for the backward pass of `forward`, each storage once.

    Parameters are not among them; copies of them in half precision are. Attention counts as the fused kernels do it,
    without its matrix of weights. Buffers that kernels use meanwhile, and what the allocator wastes, are not counted.
    """
    own = {id(p): p for p in module.parameters()}
    storages = {p.untyped_storage()._cdata for p in own.values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in storages:
            kept[storage._cdata] = storage  # held, so that its address serves no other
        return x

    half: AbstractContextManager[Any] = nullcontext()
    if precision in DTYPES:
        half = torch.autocast("cpu", DTYPES[precision])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), half:
        forward()
    return sum(storage.nbytes() for storage in kept.values())


def for_batch(saved: Callable[[int], int], batch_size: int) -> int:
    """Bytes for a batch, extrapolated from two and three images: each further image adds the same number.

    saved: number of images → bytes. (A single image may share memory that several do not.)
    """
    if batch_size < 4:
        return saved(batch_size)
    two = saved(2)
    return two + (batch_size - 2) * (saved(3) - two)


def pass_cost(module: nn.Module, forward: Callable[[int], Any], precision: str, batch_size: int) -> tuple[int, int]:
    """(bytes that autograd keeps of a batch, floating-point operations of one image), by the forward passes that
    `for_batch` asks for. forward: the pass over so many images."""
    flops, images = ForwardFlops(), 0

    def saved(n: int) -> int:
        nonlocal images
        images += n
        with flops:
            return saved_activation_bytes(module, lambda: forward(n), precision)

    kept = for_batch(saved, batch_size)
    return kept, flops.total // images


def trained_size(
    kind: str,
    make_network: Callable[[], nn.Module],
    inputs: Callable[[int], Sequence[Tensor]],
    training: Mapping[str, Any],
    preset_steps: int | None,
) -> Size:
    """The size of a network that is trained alone, without averages of its weights.

    kind: of its stage; inputs: of its forward pass over so many samples, the first with its side last; training: the
    node of its training; preset_steps: of the training in the preset.
    """
    with torch.device("meta"):
        count, side = parameter_count(make_network()), inputs(1)[0].shape[-1]
    with without_numbers(count, side):
        network, batch_size = make_network(), int(training["batch_size"])
        kept, flops = pass_cost(network, lambda n: network(*inputs(n)), training["precision"], batch_size)
    return Size(
        kind=kind,
        part=type(network).__name__,
        parameters=count,
        state=STATE_BYTES * count,
        activations=kept,
        flops=flops,
        batch_size=batch_size,
        steps=training["steps"],
        preset_steps=preset_steps,
    )


def without_numbers(parameters: int, side: int) -> AbstractContextManager[Any]:
    """A context in which tensors have shapes and dtypes, but no values.

    Small networks are run for real: torch's compiler, which has the fake tensors, takes longer to import. parameters:
    of the network; side: of its input, in positions.
    """
    if parameters < SMALL and side**2 <= QUICK:
        return nullcontext()
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode: AbstractContextManager[Any] = FakeTensorMode()
    return mode
