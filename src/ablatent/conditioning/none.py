"""Unconditional models."""

from collections.abc import Mapping

from torch import Tensor

from ablatent.conditioning.base import Conditioner
from ablatent.core.types import Cond


class NoConditioner(Conditioner):
    """Needs nothing, gives nothing, has no parameters."""

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        return Cond()

    def null(self, n: int) -> Cond:
        return Cond()
