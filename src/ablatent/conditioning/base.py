"""What turns fields of a batch into a condition, and the null condition of guidance (Ho & Salimans 2022)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields as parts_of

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond


class Conditioner(nn.Module, ABC):
    """Base of all conditioners.

    fields: what it needs of a batch ("label", "caption"). vector_dim, context_dim, spatial_channels: the parts of
    `Cond` that it gives, so that the network can be built for them. dropout: probability of the null condition in
    training.
    """

    fields: tuple[str, ...] = ()
    vector_dim: int | None = None
    context_dim: int | None = None
    spatial_channels: int = 0

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ConfigError("conditioner.dropout", "a probability in [0, 1]", dropout)
        self.dropout = dropout

    @abstractmethod
    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """The condition of each row of a batch, on the conditioner's device."""

    @abstractmethod
    def null(self, n: int) -> Cond:
        """n rows of the null condition: the same parts, in the same shapes, as `embed` gives."""

    def drop(self, cond: Cond, p: float, uniform: Float[Tensor, "b"]) -> Cond:
        """`cond` with the null condition in the rows where uniform < p.

        uniform: numbers in [0, 1), one a row, drawn outside so that they are a function of seed, step and sample.
        """
        if not 0 <= p <= 1:
            raise ConfigError("conditioner.dropout", "a probability in [0, 1]", p)
        if p == 0:
            return cond
        null = self.null(len(uniform))
        parts = {}
        for part in parts_of(Cond):
            ours, theirs = getattr(cond, part.name), getattr(null, part.name)
            if (ours is None) != (theirs is None) or (ours is not None and ours.shape != theirs.shape):
                raise ValueError(f"{type(self).__name__}.drop: null condition and condition differ in '{part.name}'")
            if ours is not None:
                dropped = rearrange((uniform < p).to(ours.device), "b -> b" + " 1" * (ours.ndim - 1))
                parts[part.name] = torch.where(dropped, theirs, ours)
        return Cond(**parts)
