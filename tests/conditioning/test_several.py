"""Several conditions at once: each has its share of the whole, and is dropped by itself."""

import numpy as np
import pytest
import torch

from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.class_label import ClassLabel
from ablatent.conditioning.layout import Layout
from ablatent.conditioning.low_resolution import LowResolution
from ablatent.conditioning.semantic import Semantic
from ablatent.conditioning.several import Several
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.rng import stream
from ablatent.core.types import Cond
from ablatent.data.base import Annotations

N, SHAPE = 4, (4, 8, 8)


def all_of_them() -> Several:
    torch.manual_seed(0)
    return Several(
        {
            "kind": ClassLabel(3, 8, dropout=0.5),
            "boxes": Layout(
                classes=3, size=32, width=8, depth=1, max_boxes=2, vocabulary=26, heads=1, head_channels=8, dropout=0.0
            ),
            "style": ClassLabel(3, 6, "vector", dropout=0.5),
            "map": Semantic(5, SHAPE, dropout=0.5),
            "small": LowResolution(size=32, latent_shape=SHAPE, dropout=0.0),
        }
    )


def drawn(c: Conditioner, flipped: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    notes = Annotations(
        np.array([0, 1, 2, 0]), tuple("abc"), None, [[(0, 0.0, 0.0, 0.5, 1.0)]] * N,
        rng.integers(0, 5, (N, 32, 32)).astype(np.uint8), tuple("vwxyz"),
    )  # fmt: skip
    source = Source(N, notes, rng.integers(0, 256, (N, 32, 32, 3)).astype(np.uint8))
    rows = {**c.rows(source), "flipped": np.full(N, flipped)}
    return c.draw(rows, [stream(0, "test", i) for i in range(N)])


def batch(c: Conditioner) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(np.array(v)) for k, v in drawn(c).items()}


def same(a: Cond, b: Cond) -> bool:
    pairs = [(getattr(a, k), getattr(b, k)) for k in ("vector", "tokens", "mask", "spatial")]
    return all((x is None) == (y is None) and (x is None or torch.equal(x, y)) for x, y in pairs)


def test_each_part_has_its_share() -> None:
    c = all_of_them().eval()
    assert set(c.needs) == {"labels", "boxes", "segmentation", "pixels"}
    assert (c.context_dim, c.vector_dim, c.spatial_channels, c.length, c.drops) == (8, 6, 6, 7, 5)
    cond = c.embed(batch(c))
    assert cond.tokens is not None and cond.mask is not None and cond.vector is not None and cond.spatial is not None
    assert (cond.tokens.shape, cond.vector.shape, cond.spatial.shape) == ((N, 7, 8), (N, 6), (N, 6, 8, 8))
    assert cond.mask[0].tolist() == [True, True, True, True, True, False, False], "a class has no mask: it counts"
    for share, (name, part) in zip(c._split(cond), c, strict=True):
        alone = part.embed({k: torch.from_numpy(np.array(v)) for k, v in drawn(part).items()})
        if name == "kind":
            alone = Cond(tokens=alone.tokens, mask=torch.ones(N, 1, dtype=torch.bool))
        assert same(share, alone), name
    assert same(c._join(c._split(cond)), cond)


def test_each_part_is_dropped_by_itself_and_null_replaces_what_can_be_dropped() -> None:
    c = all_of_them().eval()
    cond = c.embed(batch(c))
    null = c._split(c.null(cond))
    uniform = torch.full((N, 5), 0.9)
    uniform[0, 0] = uniform[1, 1] = uniform[2, 3] = uniform[2, 4] = 0.1
    dropped = c._split(c.drop(cond, uniform))
    whole = c._split(cond)
    gone = {(0, "kind"), (2, "map")}  # boxes and small have no dropout
    for before, after, nothing, (name, _) in zip(whole, dropped, null, c, strict=True):
        for k in range(N):
            one = slice(k, k + 1)
            assert same(after.rows(one), (nothing if (k, name) in gone else before).rows(one)), (k, name)
    for before, nothing, (name, part) in zip(whole, null, c, strict=True):
        assert same(before, nothing) == (part.dropout == 0), name


def test_a_mirrored_picture_is_mirrored_for_all_parts() -> None:
    c = all_of_them()
    straight, mirrored = drawn(c), drawn(c, flipped=True)
    assert not np.array_equal(straight["boxes.layout"], mirrored["boxes.layout"])
    assert np.array_equal(straight["map.segmentation"][..., ::-1], mirrored["map.segmentation"])
    assert np.array_equal(straight["small.low"][:, :, ::-1], mirrored["small.low"])
    shown = c.shown(straight)
    assert shown is not None and np.array_equal(shown, c.parts["boxes"].shown({"layout": straight["boxes.layout"]}))  # type: ignore[operator]


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"tokens of one width.* conditioner\.parts\.b\.dim=8\."):
        Several({"a": ClassLabel(3, 8), "b": ClassLabel(3, 9)})
    with pytest.raises(ConfigError, match="at least one"):
        Several({})
