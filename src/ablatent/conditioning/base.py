"""What turns annotations and images into a condition, and the null condition of guidance (Ho & Salimans 2022).

The way of a condition: `rows` makes arrays of a source once, a row an image; `draw` adds what is random in a batch
(masks, degradations); `embed` makes the `Cond` that a network reads; `drop` puts the null condition in some rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as parts_of
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn, where

from ablatent.conditioning.source import Source
from ablatent.core.blocks import Blocks
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond

Rows = dict[str, Any]
"""name → array of n rows, or a `RowLookup` that reads them on access."""
Encode = Callable[[Tensor], Tensor]
"""Images in [-1, 1], (b, C, H, W) -> normalised latents (b, c, h, w) of the frozen first stage."""


@dataclass(frozen=True)
class Setting:
    """The surroundings of a conditioner, which follow from the data and the first stage.

    classes, segments: number of classes of labels and boxes, and of segmentation maps (0: the data has none); size: of
    the images, in pixels; latent_shape: (c, h, w); encode: the frozen first stage. pretrained: whether
    pretrained encoders may be loaded; False: they give zeros, to try shapes out. channels: of the images, 3 or 1.
    """

    classes: int
    segments: int
    size: int
    latent_shape: tuple[int, int, int]
    encode: Encode
    pretrained: bool = True
    channels: int = 3


@dataclass(frozen=True)
class ConditionInfo:
    """What one part of a model's condition reads. name: of its class, for messages; needs, fills: see `Conditioner`."""

    name: str
    needs: tuple[str, ...]
    fills: bool = False


class Conditioner(nn.Module, ABC):
    """Base of all conditioners.

    Declared, as literals that planning reads from the source: needs: the annotations that it reads, and "pixels" where
    it reads images; fills: whether it reads an image with a hole, and the mask of what is to be filled; cached: the
    options that decide what `cache` makes of the captions, once for all trainings (frozen text encoders); filled: those
    of its arguments that follow from the `Setting`, by the names they have there.

    vector_dim, context_dim, spatial_channels: the parts of `Cond` that it gives, so that the
    network can be built for them; length: context tokens a row; width_option: the argument that sets context_dim.
    dropout: probability of the null condition in training. drops: uniform numbers a row that `drop` takes. classes:
    that it tells apart, 0 without any; max_boxes: that it reads, low_resolution_size: side in pixels of the images that
    it enlarges, None where it does neither.
    """

    needs: tuple[str, ...] = ()
    fills: ClassVar[bool] = False
    cached: ClassVar[tuple[str, ...]] = ()
    filled: ClassVar[tuple[str, ...]] = ()
    vector_dim: int | None = None
    context_dim: int | None = None
    width_option: ClassVar[str] = "width"
    spatial_channels: int = 0
    length: int = 0
    drops: int = 1
    classes: int = 0
    max_boxes: int | None = None
    low_resolution_size: int | None = None

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ConfigError("conditioner.dropout", "a probability in [0, 1]", dropout)
        self.dropout = dropout

    def info(self) -> list["ConditionInfo"]:
        """What each part of the condition reads; a conditioner without parts is its only one."""
        return [ConditionInfo(type(self).__name__, self.needs, self.fills)] if self.needs else []

    def degradation(self) -> dict[str, Any]:
        """Options by which the condition makes images small; empty where it does not."""
        return {}

    @classmethod
    def cache(
        cls,
        options: Mapping[str, Any],
        captions: Sequence[str],
        folder: Path,
        device: torch.device,
        title: str,
        blocks: Blocks,
    ) -> dict[str, Any]:
        """Write the embeddings of these captions into a folder, where `rows` finds them by `Source.embeddings`.

        options: those that the class declares as `cached`, as objects; title: of the progress bar; blocks: what is
        finished of it, for a `cache` that takes long. Returns values for the summary of the stage. Raises ConfigError
        for a class that declares options and has no `cache`.
        """
        raise ConfigError("conditioner", "a class with a `cache` for the options that it declares", cls.__name__)

    @abstractmethod
    def rows(self, source: Source) -> Rows:
        """Arrays of source.n rows, by names that `embed` knows. Raises ConfigError where the source lacks a part."""

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        """The rows of one batch with what is random in them; rngs: a generator a row. Here: the rows as they are."""
        return rows

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """The condition of each row (the result of `draw`) as an image for figures; None where it is not one."""
        return None

    @abstractmethod
    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """The condition of each row of a batch (the result of `draw`, as tensors), on the batch's device."""

    @abstractmethod
    def null(self, like: Cond) -> Cond:
        """The null condition of each row of `like`: the same parts in the same shapes."""

    def drop(self, cond: Cond, uniform: Float[Tensor, "b ..."]) -> Cond:
        """`cond` with the null condition in the rows where uniform < dropout.

        uniform: in [0, 1), (b,) or (b, drops), drawn outside so that it is a function of seed, step and sample.
        """
        if self.dropout == 0:
            return cond
        return mixed(uniform < self.dropout, self.null(cond), cond)


def mixed(mask: Tensor, these: Cond, those: Cond) -> Cond:
    """Row by row, part by part: `these` where the mask (b,) is True, else `those`.

    Both have the same parts in the same shapes; raises ValueError where they do not.
    """
    if these.mask is not None or those.mask is not None:  # tokens without a mask all count
        these, those = (replace(cond, mask=mask_of(cond)) for cond in (these, those))
    parts = {}
    for part in parts_of(Cond):
        a, b = getattr(these, part.name), getattr(those, part.name)
        if (a is None) != (b is None) or (b is not None and a.shape != b.shape):
            raise ValueError(f"null condition and condition differ in '{part.name}'")
        if b is not None:
            parts[part.name] = where(rearrange(mask.to(b.device), "b -> b" + " 1" * (b.ndim - 1)), a, b)
    return Cond(**parts)


def mask_of(cond: Cond) -> Bool[Tensor, "b l"] | None:
    """The mask of a condition's tokens, all True where it has none; None for a condition without tokens."""
    if cond.mask is not None or cond.tokens is None:
        return cond.mask
    return torch.ones(cond.tokens.shape[:2], dtype=torch.bool, device=cond.tokens.device)
