"""Tensors under other names: one table gives the name of each tensor in a format, both directions read it.

A `Place` is a layer of our network, a `Leaf` the name of one of its parts in a format, an `Entry` one of our tensors
with its name or names there. Formats differ in names, in the number of dimensions of a layer that looks at one position
at a time (a linear layer, a 1x1 convolution), and in whether query, key and value are one tensor or three.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ablatent.core.errors import DataError

SHOWN = 10


@dataclass(frozen=True)
class Place:
    """A layer of our network.

    name: its prefix in our state dict. sort: a single "layer", or the kind of block ("res", "attention", "transformer",
    "down", "up", "resize"). side: "in", "down", "mid", "up" or "out". level: 0 has the highest resolution. index: among
    the blocks of its sort on that side and level.
    """

    name: str
    sort: str
    side: str
    level: int = 0
    index: int = 0


@dataclass(frozen=True)
class Leaf:
    """The names of one part of a block in a format: three where query, key and value are apart.

    dims: of its weight there, where that may differ from ours. by_head: rows are ordered by head first, then query, key
    and value, instead of the reverse.
    """

    names: tuple[str, ...]
    dims: int | None = None
    by_head: bool = False


Leaves = Mapping[str, Mapping[str, Leaf]]
"""sort → our name of a part ("" for a single layer) → its names in a format."""


@dataclass(frozen=True)
class Entry:
    """One of our tensors and its names in a format; see `Leaf`. heads: of attention whose rows are ordered by head."""

    name: str
    external: tuple[str, ...]
    dims: int | None = None
    heads: int | None = None

    def to_external(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of `external`, in order."""
        if self.heads is not None:
            tensor = rearrange(tensor, "(qkv n d) ... -> (n qkv d) ...", qkv=3, n=self.heads)
        parts = tensor.chunk(len(self.external))
        if self.dims is None or tensor.ndim == 1:
            return list(parts)
        return [part.reshape(*part.shape[:2], *[1] * (self.dims - 2)) for part in parts]

    def to_internal(self, parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Our tensor of that shape, from the tensors of `external` in order."""
        tensor = (parts[0] if len(parts) == 1 else torch.cat(list(parts))).reshape(shape)
        if self.heads is not None:
            tensor = rearrange(tensor, "(n qkv d) ... -> (qkv n d) ...", qkv=3, n=self.heads)
        return tensor

    def fits(self, got: torch.Size, expected: torch.Size) -> bool:
        """Whether an external tensor has the expected shape; trailing ones are free where `dims` is."""
        return got == expected if self.dims is None else _without_ones(got) == _without_ones(expected)


def _without_ones(shape: torch.Size) -> tuple[int, ...]:
    sizes = list(shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def entries(
    state: Mapping[str, Tensor], places: Mapping[str, tuple[str, str]], leaves: Leaves, heads: Mapping[int, int]
) -> list[Entry]:
    """An entry for each tensor of `state` (ours; may be on the meta device) that lies at one of the places.

    places: our prefix → (sort, its prefix in the format). heads: width → attention heads, for leaves that are ordered
    by head.
    """
    found = []
    for name, tensor in state.items():
        path, _, parameter = name.rpartition(".")
        prefix = path
        while prefix not in places and prefix:
            prefix = prefix.rpartition(".")[0]
        if prefix not in places:
            continue
        sort, outer = places[prefix]
        leaf = leaves[sort][path[len(prefix) :].removeprefix(".")]
        names = tuple(".".join(p for p in (outer, part, parameter) if p) for part in leaf.names)
        count = heads[tensor.shape[0] // 3] if leaf.by_head else None
        found.append(Entry(name, names, leaf.dims if parameter == "weight" else None, count))
    return found


def to_external(state: Mapping[str, Tensor], table: Iterable[Entry]) -> dict[str, Tensor]:
    """The tensors of `state` under the names, and in the shapes, of a format."""
    return {
        name: part.contiguous()
        for entry in table
        for name, part in zip(entry.external, entry.to_external(state[entry.name]), strict=True)
    }


def to_internal(
    external: Mapping[str, Tensor], table: Sequence[Entry], shapes: Mapping[str, Tensor], what: str, prefix: str = ""
) -> dict[str, Tensor]:
    """Tensors of a format under our names, in our dtypes.

    shapes: our state dict, on the meta device. Raises DataError that names what is missing, unexpected, of another
    shape or not finite; what, prefix: of the message: the network, and what stands before each name in the file.
    """
    expected = {
        name: (part.shape, entry)
        for entry in table
        for name, part in zip(entry.external, entry.to_external(shapes[entry.name]), strict=True)
    }
    problems = {
        "missing": [prefix + name for name in expected if name not in external],
        "unexpected": [prefix + name for name in external if name not in expected],
        "misshapen": [
            f"{prefix}{name} {tuple(external[name].shape)} instead of {tuple(shape)}"
            for name, (shape, entry) in expected.items()
            if name in external and not entry.fits(external[name].shape, shape)
        ],
    }
    if any(problems.values()):
        raise DataError(f"{what}: expected the {len(expected)} tensors of that network; got {_listed(problems)}.")
    check_finite({prefix + name: external[name] for name in expected}, what)
    return {
        entry.name: entry.to_internal([external[name] for name in entry.external], shapes[entry.name].shape)
        .to(shapes[entry.name].dtype)
        .contiguous()
        for entry in table
    }


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise DataError that names the tensors with NaN or infinity."""
    wrong = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        found = _listed({"with NaN or infinity": wrong})
        raise DataError(f"{what}: expected finite weights; got {found}. Its training diverged, or the file is damaged.")


def _listed(problems: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for kind, names in problems.items():
        if names:
            more = ", …" if len(names) > SHOWN else ""
            parts.append(f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}")
    return "; ".join(parts)
