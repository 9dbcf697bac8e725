"""The conditioner of unconditional models."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.source import Source
from ablatent.core.types import Cond


class NoConditioner(Conditioner):
    """Needs nothing, gives nothing, has no parameters."""

    neutral: ClassVar = {"dropout": 0.0}

    def rows(self, source: Source) -> Rows:
        return {}

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        return Cond()

    def null(self, like: Cond) -> Cond:
        return Cond()
