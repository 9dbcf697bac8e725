"""Conditioners: what they give, the null condition, dropping rows."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.class_label import ClassLabel
from ablatent.conditioning.none import NoConditioner
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.types import Cond
from ablatent.data.base import Annotations

LABELS = torch.tensor([0, 2, 1])


def part(cond: Cond, inject: str) -> Tensor:
    value = cond.tokens[:, 0] if inject == "tokens" else cond.vector
    assert value is not None
    return value


@pytest.mark.parametrize("inject", ["tokens", "vector"])
def test_embeds_classes(inject: str) -> None:
    c = ClassLabel(classes=3, dim=8, inject=inject)
    assert (c.needs, c.dropout, c.spatial_channels, c.length) == (("labels",), 0.1, 0, int(inject == "tokens"))
    assert (c.context_dim, c.vector_dim) == ((8, None) if inject == "tokens" else (None, 8))
    cond = c.embed({"label": LABELS})
    assert torch.equal(part(cond, inject), c.embedding.weight[LABELS])
    assert (cond.vector is None) == (inject == "tokens")
    assert torch.equal(part(c.null(cond), inject), c.embedding.weight[[3, 3, 3]])
    # null and condition go through one batched call in guidance
    assert part(Cond.cat([cond, c.null(cond)]), inject).shape == (6, 8)


@pytest.mark.parametrize("inject", ["tokens", "vector"])
def test_drop_replaces_rows_below_p(inject: str) -> None:
    c = ClassLabel(3, 8, inject, dropout=0.5)
    cond = c.embed({"label": LABELS})
    dropped = part(c.drop(cond, torch.tensor([0.49, 0.5, 0.0])), inject)
    assert torch.equal(dropped, c.embedding.weight[[3, 2, 3]])
    zeros = torch.zeros(3)
    c.dropout = 0.0
    assert torch.equal(part(c.drop(cond, zeros), inject), part(cond, inject))
    c.dropout = 1.0
    assert torch.equal(part(c.drop(cond, zeros + 0.999), inject), part(c.null(cond), inject))


def test_null_embedding_learns_only_from_dropped_rows() -> None:
    c = ClassLabel(3, 8, "vector", dropout=0.5)
    cond = c.drop(c.embed({"label": LABELS}), torch.tensor([0.1, 0.9, 0.9]))
    part(cond, "vector").sum().backward()
    assert c.embedding.weight.grad is not None
    assert c.embedding.weight.grad.any(dim=1).tolist() == [False, True, True, True]


@pytest.mark.parametrize("labels", [[0, 3], [-1]])
def test_labels_out_of_range(labels: list[int]) -> None:
    with pytest.raises(DataError, match=r"labels in 0 … 2"):
        ClassLabel(3, 8).eval().embed({"label": torch.tensor(labels)})
    with pytest.raises(DataError, match=r"labels in 0 … 2"):  # of the data that a training reads
        ClassLabel(3, 8).rows(Source(len(labels), Annotations(labels=np.array(labels))))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("conditioner.inject", {"inject": "token"}),
        ("conditioner.dropout", {"dropout": 1.5}),
        ("conditioner.dim", {"dim": 0}),
        ("conditioner", {"classes": 0}),
    ],
)
def test_bad_arguments(key: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as e:
        ClassLabel(**{"classes": 3, "dim": 8} | change)  # type: ignore[arg-type]
    assert e.value.key == key


def test_no_conditioner() -> None:
    c = NoConditioner()
    assert c.embed({}) == Cond() == c.null(Cond()) == c.drop(Cond(), torch.zeros(4))
    assert (c.needs, c.vector_dim, c.context_dim, c.spatial_channels, c.dropout) == ((), None, None, 0, 0.0)
    assert list(c.parameters()) == []


class Tokens(Conditioner):
    """Masked tokens and a spatial part; its null condition may be built wrongly."""

    def __init__(self, null_length: int) -> None:
        super().__init__(dropout=0.5)
        self.null_length = null_length

    def rows(self, source: Source) -> Rows:
        return {"x": np.zeros(source.n, dtype=np.float32)}

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        n = len(batch["x"])
        return Cond(tokens=torch.ones(n, 4, 2), mask=torch.ones(n, 4, dtype=torch.bool), spatial=torch.ones(n, 1, 2, 2))

    def null(self, like: Cond) -> Cond:
        n = len(like.tokens)
        mask = torch.zeros(n, self.null_length, dtype=torch.bool)
        mask[:, 0] = True
        return Cond(tokens=torch.zeros(n, self.null_length, 2), mask=mask, spatial=torch.zeros(n, 1, 2, 2))


def test_drop_covers_every_part() -> None:
    c = Tokens(4)
    cond = c.drop(c.embed({"x": torch.zeros(2)}), torch.tensor([0.9, 0.1]))
    assert cond.tokens is not None and cond.mask is not None and cond.spatial is not None
    assert cond.tokens.sum(dim=(1, 2)).tolist() == [8, 0]
    assert cond.mask.sum(dim=1).tolist() == [4, 1]
    assert cond.spatial.sum(dim=(1, 2, 3)).tolist() == [4, 0]
    short = Tokens(3)
    with pytest.raises(ValueError, match="tokens"):
        short.drop(short.embed({"x": torch.zeros(2)}), torch.zeros(2))
