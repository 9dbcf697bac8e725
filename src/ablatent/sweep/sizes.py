"""What a plan's networks weigh: parameters by part, and what one training step keeps in memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from ablatent.stages.models import blank_condition, make_network, shapes_alone
from ablatent.stages.objects import NOT_MODEL, make_first_stage
from ablatent.store.identity import digest
from ablatent.sweep.check import SMALL, classes_of
from ablatent.sweep.plan import Plan

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# Bytes a parameter in float32: the weight, its gradient and Adam's two moments; and for each average of the weights.
STATE, AVERAGE = 16, 4
# Positions of an image or latent (height times width) up to which a small network is quickly tried.
QUICK = 2**12


@dataclass(frozen=True)
class Size:
    """One part of a job: what it is, its parameters, and for a part that is trained, what its training takes.

    state: bytes of weights, gradients, the two moments of Adam and the averages of weights, all float32. activations:
    bytes that one step keeps between its forward and its backward pass. steps, usual: as planned, as the preset has it.
    """

    kind: str
    part: str
    parameters: int
    state: int | None = None
    activations: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    usual: int | None = None


def kept_for_backward(module: nn.Module, forward: Callable[[], Any], precision: str) -> int:
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


def for_batch(held_by: Callable[[int], int], batch_size: int) -> int:
    """Bytes for a batch, from those for two and three images: each further image adds the same. (A single one may share
    memory that several do not.)"""
    if batch_size < 4:
        return held_by(batch_size)
    two = held_by(2)
    return two + (batch_size - 2) * (held_by(3) - two)


def first_stage_size(cfg: Mapping[str, Any]) -> Size:
    """The autoencoder with its codebook, without the networks of its loss, which a step needs besides."""
    config = cfg["first_stage"]
    side, name = int(cfg["data"]["size"]), str(config["_target_"]).rsplit(".", 1)[-1]
    with torch.device("meta"):
        model = make_first_stage(config)
        count, latent = _count(model), model.latent_shape(side, side)
    if not model.trainable:
        return Size("first_stage", name, count)
    how = config["training"]
    b = int(how["batch_size"])
    with _without_numbers(count, side):
        model = make_first_stage(config).eval()

        def held_by(n: int) -> int:
            x, noise = torch.zeros(n, 3, side, side), torch.zeros(n, *latent)
            return kept_for_backward(model, lambda: model(x, noise), how["precision"])

        held = for_batch(held_by, b)
    usual = cfg["preset"].get("first_stage", {}).get("steps")
    return Size("first_stage", name, count, STATE * count, held, b, how["steps"], usual)


def diffusion_sizes(cfg: Mapping[str, Any]) -> list[Size]:
    """The network, and the conditioner where it has parameters."""
    side, how = int(cfg["data"]["size"]), cfg["training"]
    b, learned = int(how["batch_size"]), bool(cfg["diffusion"]["learned_variance"])
    with torch.device("meta"):
        shape = make_first_stage(cfg["first_stage"]).latent_shape(side, side)
        setting = shapes_alone(shape, side, *classes_of(cfg))
        network, conditioner = make_network(cfg, setting, learned)
        count, beside = _count(network), _count(conditioner)
        like = blank_condition(conditioner, 1, setting)
    with _without_numbers(count, shape[1]):
        network, _ = make_network(cfg, setting, learned)

        def held_by(n: int) -> int:
            cond = like.of_ones(n)
            x, t = torch.zeros(n, *shape), torch.zeros(n)
            return kept_for_backward(network, lambda: network(x, t, cond), how["precision"])

        held = for_batch(held_by, b)
    state = (STATE + AVERAGE * (1 + len(how["ema"]["extra_decays"]))) * count
    usual = cfg["preset"].get("training", {}).get("steps")
    sizes = [Size("diffusion", type(network).__name__, count, state, held, b, how["steps"], usual)]
    return sizes + ([Size("diffusion", type(conditioner).__name__, beside, STATE * beside)] if beside else [])


def sizes_of(plan: Plan) -> Iterator[Size]:
    """The parts of all jobs that were not refused, each distinct one once."""
    seen: set[str] = set()
    for job in plan.jobs:
        cfg = job.config
        if job.refused is not None:
            continue
        model = {k: v for k, v in cfg["first_stage"].items() if k not in NOT_MODEL}
        first = {"model": model, "size": cfg["data"]["size"], "training": cfg["first_stage"].get("training")}
        learned = cfg["diffusion"]["learned_variance"]
        then = {k: cfg[k] for k in ("network", "conditioner", "training")} | {"model": model, "learned": learned}
        for role, what, measure in (
            ("first_stage", first, lambda cfg=cfg: [first_stage_size(cfg)]),
            ("diffusion", then | {"data": cfg["data"]}, lambda cfg=cfg: diffusion_sizes(cfg)),
        ):
            if role in job.stages and (name := digest(what)) not in seen:
                seen.add(name)
                yield from measure()


def table(plan: Plan) -> Table:
    """For `do=plan`: a row a part."""
    out = Table(title="networks", title_justify="left")
    for column in ("stage", "part"):
        out.add_column(column)
    for column in ("parameters", "weights, Adam, EMA", "activations", "batch", "steps", "the preset's"):
        out.add_column(column, justify="right")
    for s in dict.fromkeys(sizes_of(plan)):
        numbers = ["–" if n is None else f"{n:,}" for n in (s.batch_size, s.steps, s.usual)]
        out.add_row(s.kind, s.part, f"{s.parameters / 1e6:.2f}M", _bytes(s.state), _bytes(s.activations), *numbers)
    return out


def _without_numbers(parameters: int, side: int) -> AbstractContextManager[Any]:
    """Inside, tensors have shapes and dtypes, but no numbers. Small things are done in earnest: torch's compiler, which
    can pretend, takes longer to import."""
    if parameters < SMALL and side**2 <= QUICK:
        return nullcontext()
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode: AbstractContextManager[Any] = FakeTensorMode()
    return mode


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _bytes(n: int | None) -> str:
    if n is None:
        return "–"
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
