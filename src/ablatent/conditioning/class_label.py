"""Class-conditional models (Rombach et al. 2022, appendix E: an embedding a class, read by cross-attention)."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, OneOf, Probability
from ablatent.core.progress import counted
from ablatent.core.types import Cond


class ClassLabel(Conditioner):
    """A learnable vector per class, and one more (row `classes`) for the null condition.

    classes: number of classes in the data. dim: width. inject: "tokens" gives one context token, "vector" is added to
    the time embedding. dropout: probability of the null condition in training.
    """

    needs = ("labels",)
    filled = ("classes",)
    width_option = "dim"

    def __init__(
        self,
        classes: int,
        dim: Annotated[Count, "width of the embedding"],
        inject: Annotated[
            Annotated[str, OneOf(("tokens", "vector"))],
            "a context token for cross-attention (the paper), or added to the time embedding",
        ] = "tokens",
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.1,
    ) -> None:
        super().__init__(dropout)
        if classes < 1:
            raise ConfigError(
                "conditioner",
                "data with class labels",
                counted(classes, "class", "classes"),
                "Use conditioner=none or other data.",
            )
        if not isinstance(dim, int) or dim < 1:
            raise ConfigError("conditioner.dim", "an integer >= 1", dim)
        if inject not in ("tokens", "vector"):
            raise ConfigError("conditioner.inject", "'tokens' or 'vector'", inject)
        self.classes, self.inject = classes, inject
        self.context_dim = dim if inject == "tokens" else None
        self.vector_dim = dim if inject == "vector" else None
        self.length = 1 if inject == "tokens" else 0
        self.embedding = nn.Embedding(classes + 1, dim)

    def rows(self, source: Source) -> Rows:
        source.check(self.needs)
        labels = np.asarray(source.annotations.labels)
        self._check(labels)
        return {"label": labels}

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["label"]: int64 (b,) in 0 … classes - 1, on any device. Raises DataError for other labels; in training
        mode, where a look at them would wait for the device, `rows` has done so."""
        labels = batch["label"]
        if not self.training and not labels.is_meta:
            self._check(labels.cpu().numpy())
        return self._cond(labels)

    def _check(self, labels: np.ndarray) -> None:
        # Row `classes` is the null condition: without this check a wrong label would pass as unconditional.
        if len(labels) > 0 and not 0 <= labels.min() <= labels.max() < self.classes:
            raise DataError(
                f"conditioner: expected labels in 0 … {self.classes - 1}; got {labels.min()} … {labels.max()}. "
                "The number of classes must be that of the data."
            )

    def null(self, like: Cond) -> Cond:
        given = like.vector if like.tokens is None else like.tokens
        n = 0 if given is None else len(given)
        return self._cond(torch.full((n,), self.classes, device=self.embedding.weight.device))

    def _cond(self, rows: Int[Tensor, " b"]) -> Cond:
        vectors = self.embedding(rows.to(self.embedding.weight.device))
        if self.inject == "vector":
            return Cond(vector=vectors)
        return Cond(tokens=rearrange(vectors, "b d -> b 1 d"))
