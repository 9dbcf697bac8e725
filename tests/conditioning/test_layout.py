"""Boxes as tokens: which tokens, mirrored pictures, the null condition, and boxes that somebody types."""

import numpy as np
import pytest
import torch

from ablatent.conditioning.layout import Layout, parse_boxes
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations
from ablatent.data.boxes import Box
from ablatent.networks.encoder import TokenEncoder

LEFT, RIGHT = (2, 0.0, 0.0, 0.5, 1.0), (0, 0.5, 0.25, 1.0, 0.5)


def layout(**options: object) -> Layout:
    usual = {"classes": 3, "size": 32, "width": 16, "depth": 2, "max_boxes": 2, "vocabulary": 26, "heads": 2}
    return Layout(**usual | {"head_channels": 8, "dropout": 0.5} | options)  # type: ignore[arg-type]


def drawn(c: Layout, boxes: list[list[Box]], flipped: list[bool] | None = None) -> dict[str, np.ndarray]:
    source = Source(len(boxes), Annotations(classes=("a", "b", "c"), boxes=boxes))
    return c.draw({**c.rows(source), "flipped": np.array(flipped or [False] * len(boxes))}, [])


def test_tokens_are_class_upper_left_and_lower_right() -> None:
    c = layout()  # 5 x 5 cells, none is 25
    assert (c.cells, c.none, c.length, c.context_dim, c.spatial_channels) == (5, 25, 6, 16, 0)
    tokens = drawn(c, [[RIGHT, LEFT], [RIGHT], []])["layout"]
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [[2, 0, 22, 0, 7, 14], [0, 7, 14, 25, 25, 25], [25] * 6], "the larger box first"
    assert drawn(c, [[LEFT, RIGHT, (1, 0.0, 0.0, 0.1, 0.1)]])["layout"].tolist() == tokens[:1].tolist(), (
        "the largest stay"
    )
    # mirrored: columns 0-2 become 2-4, rows stay
    assert drawn(c, [[LEFT], [LEFT]], [True, False])["layout"][:, :3].tolist() == [[2, 2, 24], [2, 0, 22]]
    assert c.boxes(tokens) == [[LEFT, RIGHT], [RIGHT], []]


def test_no_boxes_is_the_null_condition() -> None:
    torch.manual_seed(0)
    c = layout().eval()
    cond = c.embed({"layout": torch.from_numpy(drawn(c, [[LEFT, RIGHT], [LEFT], []])["layout"])})
    assert cond.tokens is not None and cond.mask is not None and cond.tokens.shape == (3, 6, 16)
    assert cond.mask.sum(dim=1).tolist() == [6, 4, 1], "the token after the boxes ends the list"
    null = c.null(cond)
    assert null.tokens is not None and null.mask is not None
    for k in range(3):
        torch.testing.assert_close(null.tokens[k], cond.tokens[2])
        assert torch.equal(null.mask[k], cond.mask[2])
    kept = c.drop(cond, torch.tensor([0.4, 0.6, 0.4]))
    assert kept.tokens is not None
    torch.testing.assert_close(kept.tokens[0], null.tokens[0])
    assert torch.equal(kept.tokens[1], cond.tokens[1])


def test_what_is_masked_changes_nothing_that_counts() -> None:
    torch.manual_seed(0)
    encoder = TokenEncoder(vocabulary=9, length=5, width=8, depth=2, heads=2, head_channels=4)
    ids, mask = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[True, True, True, False, False]])
    other = torch.tensor([[1, 2, 3, 7, 8]])
    torch.testing.assert_close(encoder(ids, mask)[:, :3], encoder(other, mask)[:, :3])
    torch.testing.assert_close(encoder(ids, mask)[:, :3], encoder(ids[:, :3]))
    assert not torch.allclose(encoder(ids)[:, :3], encoder(other)[:, :3])
    assert encoder.to_logits is None
    assert (
        sum(
            p.numel()
            for p in TokenEncoder(vocabulary=9, length=5, width=8, depth=1, unused_logits=True).to_logits.parameters()
        )
        == 9 * 8 + 9
    )  # type: ignore[union-attr]


def test_shown() -> None:
    pictures = layout().shown(drawn(layout(), [[LEFT], []]))
    assert pictures is not None and pictures.shape == (2, 32, 32, 3) and (pictures[1] == 255).all()
    coloured = (pictures[0] != 255).any(axis=2)
    assert coloured[:, 0].all() and coloured[0, :16].all() and not coloured[:, 17:].any() and not coloured[5, 5]


def test_boxes_that_are_none() -> None:
    for boxes, what in (
        ([[(3, 0.0, 0.0, 1.0, 1.0)]], "0 … 2; got 3 in image 0"),
        ([[], [(0, 0.0, 0.0, 1.5, 1.0)]], "image 1"),
    ):
        with pytest.raises(DataError, match=what):
            drawn(layout(), boxes)
    with pytest.raises(ConfigError, match="data with boxes"):
        layout().rows(Source(1, Annotations()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["dgo", 0, 0, 1, 1], "Did you mean 'dog'"),
        (["dog", 0.5, 0, 0.5, 1], "x0 < x1"),
        (["dog", 0, 0, 2, 1], "x1 <= 1"),
        (["dog", 0, 0, 1], r"\[name, x0, y0, x1, y1\]"),
        ("dog", r"\[name, x0, y0, x1, y1\]"),
    ],
)
def test_typed_boxes(given: object, message: str) -> None:
    classes = ("red apple", "dog")
    assert parse_boxes([["dog", 0, 0.25, 1, 1]], classes) == [(1, 0.0, 0.25, 1.0, 1.0)]
    with pytest.raises(ConfigError, match=message) as error:
        parse_boxes([given], classes, "samples.boxes")
    assert error.value.key == "samples.boxes"


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("conditioner", {"classes": 0}),
        ("conditioner.max_boxes", {"max_boxes": 0}),
        ("conditioner.vocabulary", {"vocabulary": 16}),
        ("conditioner.depth", {"depth": 0}),
        ("conditioner.dropout", {"dropout": 2.0}),
    ],
)
def test_bad_options(key: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as error:
        layout(**change)
    assert error.value.key == key
