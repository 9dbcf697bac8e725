"""Tensors under other names: one table says what each of our tensors is called in a format, both directions read it.

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

    ours: its prefix in our state dict. sort: a single "layer", or the kind of block ("res", "attention", "transformer",
    "down", "up", "resize"). side: "in", "down", "mid", "up" or "out". level: 0 has the highest resolution. index: among
    the blocks of its sort on that side and level.
    """

    ours: str
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

    ours: str
    theirs: tuple[str, ...]
    dims: int | None = None
    heads: int | None = None

    def to_theirs(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of `theirs`, in order."""
        if self.heads is not None:
            tensor = rearrange(tensor, "(qkv n d) ... -> (n qkv d) ...", qkv=3, n=self.heads)
        parts = tensor.chunk(len(self.theirs))
        if self.dims is None or tensor.ndim == 1:
            return list(parts)
        return [part.reshape(*part.shape[:2], *[1] * (self.dims - 2)) for part in parts]

    def to_ours(self, parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Our tensor of that shape, from the tensors of `theirs` in order."""
        tensor = (parts[0] if len(parts) == 1 else torch.cat(list(parts))).reshape(shape)
        if self.heads is not None:
            tensor = rearrange(tensor, "(n qkv d) ... -> (qkv n d) ...", qkv=3, n=self.heads)
        return tensor

    def fits(self, got: torch.Size, expected: torch.Size) -> bool:
        """Whether a tensor of theirs has the expected shape; trailing ones are free where `dims` is."""
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

    places: our prefix → (sort, their prefix). heads: width → attention heads, for leaves that are ordered by head.
    """
    found = []
    for name, tensor in state.items():
        path, _, parameter = name.rpartition(".")
        prefix = path
        while prefix not in places and prefix:
            prefix = prefix.rpartition(".")[0]
        if prefix not in places:
            continue
        sort, theirs = places[prefix]
        leaf = leaves[sort][path[len(prefix) :].removeprefix(".")]
        names = tuple(".".join(p for p in (theirs, part, parameter) if p) for part in leaf.names)
        count = heads[tensor.shape[0] // 3] if leaf.by_head else None
        found.append(Entry(name, names, leaf.dims if parameter == "weight" else None, count))
    return found


def to_theirs(state: Mapping[str, Tensor], table: Iterable[Entry]) -> dict[str, Tensor]:
    """Our tensors under their names."""
    return {
        name: part.contiguous()
        for entry in table
        for name, part in zip(entry.theirs, entry.to_theirs(state[entry.ours]), strict=True)
    }


def to_ours(
    theirs: Mapping[str, Tensor], table: Sequence[Entry], shapes: Mapping[str, Tensor], what: str, prefix: str = ""
) -> dict[str, Tensor]:
    """Their tensors under our names, in our dtypes.

    shapes: our state dict, on the meta device. Raises DataError that names what is missing, unexpected or of another
    shape; what, prefix: how the message calls the network, and what stands before each name in the file.
    """
    expected = {
        name: (part.shape, entry)
        for entry in table
        for name, part in zip(entry.theirs, entry.to_theirs(shapes[entry.ours]), strict=True)
    }
    problems = {
        "missing": [prefix + name for name in expected if name not in theirs],
        "unexpected": [prefix + name for name in theirs if name not in expected],
        "misshapen": [
            f"{prefix}{name} {tuple(theirs[name].shape)} instead of {tuple(shape)}"
            for name, (shape, entry) in expected.items()
            if name in theirs and not entry.fits(theirs[name].shape, shape)
        ],
    }
    if any(problems.values()):
        raise DataError(f"{what}: expected the {len(expected)} tensors of that network; got {_listed(problems)}.")
    return {
        entry.ours: entry.to_ours([theirs[name] for name in entry.theirs], shapes[entry.ours].shape)
        .to(shapes[entry.ours].dtype)
        .contiguous()
        for entry in table
    }


def _listed(problems: Mapping[str, Sequence[str]]) -> str:
    said = []
    for kind, names in problems.items():
        if names:
            more = ", …" if len(names) > SHOWN else ""
            said.append(f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}")
    return "; ".join(said)
