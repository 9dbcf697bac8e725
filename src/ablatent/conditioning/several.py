"""Several conditions at once (Rombach et al. 2022, section 3.3: concatenation beside cross-attention)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, ConditionInfo, Rows, mask_of
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond

T = TypeVar("T")


class Several(Conditioner):
    """Tokens one after the other, vectors and maps side by side; each part is dropped by itself, with its own dropout.

    The null condition of guidance replaces the parts that are dropped in training; the others stay as they are.
    parts: name → conditioner; those that give tokens must give them in one width.
    """

    def __init__(self, parts: Mapping[str, Conditioner]) -> None:
        super().__init__(max((p.dropout for p in parts.values()), default=0.0))
        if not parts:
            raise ConfigError("conditioner.parts", "at least one conditioner, by a name of your choice", "none")
        widths = {name: p.context_dim for name, p in parts.items() if p.context_dim is not None}
        if len(set(widths.values())) > 1:
            width = next(iter(widths.values()))
            keys = [f"conditioner.parts.{n}.{parts[n].width_option}={width}" for n, w in widths.items() if w != width]
            raise ConfigError("conditioner.parts", "tokens of one width", widths, f"For example {', '.join(keys)}.")
        self.parts = nn.ModuleDict(parts)
        self.needs = tuple(dict.fromkeys(need for p in parts.values() for need in p.needs))
        self.context_dim = next(iter(widths.values()), None)
        self.vector_dim = sum(p.vector_dim or 0 for p in parts.values()) or None
        self.spatial_channels = sum(p.spatial_channels for p in parts.values())
        self.length = sum(p.length for p in parts.values())
        self.drops = sum(p.drops for p in parts.values())
        self.classes = max(p.classes for p in parts.values())
        self.max_boxes = next((p.max_boxes for p in parts.values() if p.max_boxes is not None), None)
        sizes = [p.low_resolution_size for p in parts.values() if p.low_resolution_size is not None]
        self.low_resolution_size = sizes[0] if sizes else None

    def info(self) -> list[ConditionInfo]:
        return [found for _, part in self for found in part.info()]

    def degradation(self) -> dict[str, Any]:
        return {name: value for _, part in self for name, value in part.degradation().items()}

    def __iter__(self) -> Iterator[tuple[str, Conditioner]]:
        yield from self.parts.items()  # type: ignore[misc]

    def rows(self, source: Source) -> Rows:
        return {f"{name}.{k}": v for name, part in self for k, v in part.rows(source).items()}

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        return {f"{name}.{k}": v for name, part in self for k, v in part.draw(_of(rows, name), rngs).items()}

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """The first part that can be shown."""
        images = (part.shown(_of(rows, name)) for name, part in self)
        return next((p for p in images if p is not None), None)

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        return self._join([part.embed(_of(batch, name)) for name, part in self])

    def null(self, like: Cond) -> Cond:
        given = zip(self, self._split(like), strict=True)
        return self._join([part.null(cond) if part.dropout > 0 else cond for (_, part), cond in given])

    def drop(self, cond: Cond, uniform: Float[Tensor, "b ..."]) -> Cond:
        """uniform: (b, drops)."""
        columns = iter(uniform.reshape(len(uniform), -1).split([part.drops for _, part in self], dim=1))
        given = zip(self, self._split(cond), columns, strict=True)
        return self._join([part.drop(c, u[:, 0] if part.drops == 1 else u) for (_, part), c, u in given])

    def _split(self, cond: Cond) -> list[Cond]:
        """The share of each part in a joined condition, the inverse of `_join`."""
        found, at = [], {"vector": 0, "tokens": 0, "spatial": 0}
        for _, part in self:
            sizes = {"vector": part.vector_dim or 0, "tokens": part.length, "spatial": part.spatial_channels}
            cut = {name: slice(at[name], at[name] + size) for name, size in sizes.items()}
            at = {name: at[name] + size for name, size in sizes.items()}
            found.append(
                Cond(
                    cond.vector[:, cut["vector"]] if cond.vector is not None and sizes["vector"] else None,
                    cond.tokens[:, cut["tokens"]] if cond.tokens is not None and sizes["tokens"] else None,
                    cond.mask[:, cut["tokens"]] if cond.mask is not None and sizes["tokens"] else None,
                    cond.spatial[:, cut["spatial"]] if cond.spatial is not None and sizes["spatial"] else None,
                )
            )
        return found

    def _join(self, conds: Sequence[Cond]) -> Cond:
        masks = [mask_of(c) for c in conds] if any(c.mask is not None for c in conds) else []
        return Cond(
            _cat([c.vector for c in conds]),
            _cat([c.tokens for c in conds]),
            _cat(masks),
            _cat([c.spatial for c in conds]),
        )


def _of(rows: Mapping[str, T], name: str) -> dict[str, T]:
    """The fields of one part. Fields of the row itself (flipped) go to every part."""
    mine = {k.removeprefix(f"{name}."): v for k, v in rows.items() if k.startswith(f"{name}.")}
    return mine | {k: v for k, v in rows.items() if "." not in k}


def _cat(values: Sequence[Tensor | None]) -> Tensor | None:
    there = [v for v in values if v is not None]
    return torch.cat(there, dim=1) if there else None
