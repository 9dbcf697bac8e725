"""Conditions beside x_t: exact maps, mirrored pictures, masks, the null condition."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.low_resolution import LowResolution
from ablatent.conditioning.masked_image import MaskedImage
from ablatent.conditioning.masks import KINDS, Masks
from ablatent.conditioning.palette import palette
from ablatent.conditioning.semantic import Semantic
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.rng import stream
from ablatent.core.types import Cond
from ablatent.data.base import Annotations

SHAPE, SIZE, N = (4, 8, 8), 32, 3


def encode(x: Tensor) -> Tensor:
    """A first stage of four channels: means of 4x4 pixels, and of their channels."""
    mean = reduce(x, "b c (h p) (w q) -> b c h w", "mean", p=4, q=4)
    return torch.cat([mean, mean.mean(dim=1, keepdim=True)], dim=1)


def made(name: str, **options: object) -> Conditioner:
    kinds = {
        "semantic": lambda **o: Semantic(5, SHAPE, **o),
        "low_resolution": lambda **o: LowResolution(size=SIZE, latent_shape=SHAPE, **o),
        "masked_image": lambda **o: MaskedImage(SIZE, SHAPE, encode, **o),
    }
    torch.manual_seed(0)
    return kinds[name](**{"dropout": 0.5} | options)


def source() -> Source:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 5, (N, SIZE, SIZE)).astype(np.uint8)
    pixels = rng.integers(0, 256, (N, SIZE, SIZE, 3)).astype(np.uint8)
    return Source(N, Annotations(segmentation=maps, segments=tuple("abcde")), pixels)


def drawn(c: Conditioner, s: Source, flipped: Sequence[bool] = (False,) * N, seed: int = 0) -> dict[str, np.ndarray]:
    rows = {**c.rows(s), "flipped": np.array(flipped)}
    return c.draw(rows, [stream(seed, "test", i) for i in range(s.n)])


def embedded(c: Conditioner, rows: dict[str, np.ndarray]) -> Tensor:
    cond = c.embed({k: torch.from_numpy(np.array(v)) for k, v in rows.items()})
    assert cond.spatial is not None and cond.tokens is None and cond.vector is None
    return cond.spatial


NAMES = ["semantic", "low_resolution", "masked_image"]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_null_and_dropped(name: str) -> None:
    c = made(name)
    x = embedded(c, drawn(c, source()))
    assert x.shape == (N, c.spatial_channels, 8, 8) and x.dtype == torch.float32
    null, dropped = c.null(Cond(spatial=x)), c.drop(Cond(spatial=x), torch.tensor([0.2, 0.7, 0.2]))
    assert null.spatial is not None and dropped.spatial is not None and null.spatial.shape == x.shape
    assert torch.equal(dropped.spatial[[0, 2]], null.spatial[[0, 2]]) and torch.equal(dropped.spatial[1], x[1])
    assert len(null.spatial.unique(dim=0)) == 1 and not torch.equal(null.spatial[1], x[1])
    shown = c.shown(drawn(c, source()))
    assert shown is not None and shown.shape == (N, SIZE, SIZE, 3) and shown.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_mirrored_pictures_have_mirrored_conditions(name: str) -> None:
    c, s = made(name, **({"masks": "halves"} if name == "masked_image" else {})), source()
    masks = np.zeros((N, SIZE, SIZE), dtype=np.uint8)
    masks[:, 4:9, 2:6] = 1
    s = Source(N, s.annotations, s.pixels, masks=masks)
    straight, mirrored = embedded(c, drawn(c, s)), embedded(c, drawn(c, s, (True, False, True)))
    torch.testing.assert_close(mirrored[[0, 2]], straight[[0, 2]].flip(-1), atol=0.02, rtol=0)
    assert torch.equal(mirrored[1], straight[1])


def test_semantic_is_a_one_hot_map_rescaled_and_convolved() -> None:
    c, s = made("semantic"), source()
    assert isinstance(c, Semantic) and s.annotations.segmentation is not None
    one_hot = rearrange(F.one_hot(torch.from_numpy(s.annotations.segmentation).long(), 5), "b h w c -> b c h w").float()
    for _ in range(2):  # SpatialRescaler: halved by bilinear interpolation, twice
        one_hot = F.interpolate(one_hot, scale_factor=0.5, mode="bilinear")
    expected = F.conv2d(one_hot, rearrange(c.embedding.weight, "s c -> c s 1 1"))
    torch.testing.assert_close(embedded(c, drawn(c, s)), expected)
    assert len(np.unique(palette(40), axis=0)) == 40 and np.array_equal(palette(40)[:7], palette(7))


def test_low_resolution_is_small_and_the_same_for_every_batch() -> None:
    c = made("low_resolution")
    plain = Source(1, Annotations(), np.full((1, SIZE, SIZE, 3), 64, dtype=np.uint8))
    rows = drawn(c, plain, (False,))
    assert "pixels" not in rows and rows["low"].shape == (1, 8, 8, 3)
    torch.testing.assert_close(embedded(c, rows), torch.full((1, 3, 8, 8), 64 / 127.5 - 1))
    # other sides than that of the latents are resized: areas are averaged
    fine = made("low_resolution", factor=2)
    rows = drawn(fine, source())
    expected = reduce(rows["low"].astype(np.float32) / 127.5 - 1, "n (h a) (w b) c -> n c h w", "mean", a=2, b=2)
    np.testing.assert_allclose(embedded(fine, rows), expected, atol=1e-5)
    assert embedded(made("low_resolution", factor=8), drawn(made("low_resolution", factor=8), source())).shape == (
        N,
        3,
        8,
        8,
    )
    worse = made("low_resolution", degradation="blur_noise")
    first, again, other = (drawn(worse, source(), seed=k)["low"] for k in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    alone = worse.draw({**worse.rows(source().rows([2])), "flipped": np.array([False])}, [stream(0, "test", 2)])
    assert np.array_equal(alone["low"][0], first[2])
    assert not np.array_equal(first, drawn(c, source())["low"])
    clean = made("low_resolution", degradation="blur_noise", blur=[0, 0], noise=[0, 0], jpeg=None)
    assert np.array_equal(drawn(clean, source())["low"], drawn(c, source())["low"])


def test_small_pictures_that_somebody_brings() -> None:
    small = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)
    c = made("low_resolution")
    rows = drawn(c, Source(1, Annotations(), low_resolution=small), (False,))
    assert np.array_equal(rows["low"], small)
    with pytest.raises(ConfigError, match="8x8"):
        c.rows(Source(1, Annotations(), low_resolution=small[:, :4]))
    with pytest.raises(ConfigError, match="data with images"):
        c.rows(Source(1, Annotations()))


def test_masked_image_takes_shares_of_a_soft_mask() -> None:
    c, s = made("masked_image"), source()
    mask = np.zeros((N, SIZE, SIZE), dtype=np.float32)
    mask[:, :, 4:8], mask[:, :, 8:] = 0.25, 1
    rows = drawn(c, Source(N, s.annotations, s.pixels, masks=mask))
    assert np.array_equal(rows["pixels"][:, :, :8], s.pixels[:, :, :8]) and (rows["pixels"][:, :, 8:] == 128).all()
    x, unit = embedded(c, rows), s.pixels / 127.5 - 1
    torch.testing.assert_close(x[:, 4], torch.from_numpy(2 * mask[:, ::4, ::4] - 1)[:, : x.shape[2], : x.shape[3]])
    faint = torch.from_numpy(rearrange(unit * (1 - mask[..., None]), "b h w c -> b c h w")).float()
    torch.testing.assert_close(x[:, :4], encode(faint))


def test_masked_image_hides_what_is_to_be_filled() -> None:
    c, s = made("masked_image"), source()
    mask = np.zeros((N, SIZE, SIZE), dtype=np.uint8)
    mask[:, 4:9, 8:16] = 1
    s = Source(N, s.annotations, s.pixels, masks=mask)
    rows = drawn(c, s)
    assert s.pixels is not None and set(np.unique(rows["mask"])) == {0, 1}
    assert (rows["pixels"][:, 4:9, 8:16] == 128).all()
    assert np.array_equal(rows["pixels"][mask == 0], s.pixels[mask == 0])
    x = embedded(c, rows)
    assert x.shape == (N, 5, 8, 8)
    hole = torch.full((8, 8), -1.0)
    hole[1:3, 2:4] = 1  # a position is to be filled where any of its pixels is
    assert torch.equal(x[0, 4], hole)
    left = torch.from_numpy(
        rearrange(s.pixels * (mask == 0)[..., None] / 127.5 - (mask == 0)[..., None], "b h w c -> b c h w")
    ).float()
    torch.testing.assert_close(x[:, :4], encode(left))
    null = c.null(Cond(spatial=x)).spatial
    assert null is not None and (null[:, 4] == 1).all() and (null[:, :4] == 0).all()
    wide = Source(N, s.annotations, np.tile(s.pixels, (1, 1, 2, 1)), masks=np.pad(mask, ((0, 0), (0, 0), (0, SIZE))))
    larger = embedded(c, drawn(c, wide))
    assert torch.equal(larger[..., :8], x) and (larger[:, 4, :, 8:] == -1).all(), "a canvas of another size"
    emptied = c.null(Cond(spatial=larger)).spatial
    assert emptied is not None and emptied.shape == larger.shape


@pytest.mark.parametrize("kind", [*KINDS, "mixture"])
def test_masks_cover_the_share_asked_for(kind: str) -> None:
    masks = Masks(kind, (0.2, 0.4))
    made = np.stack([masks(stream(0, "mask", i), 32) for i in range(60)])
    assert made.dtype == np.uint8 and set(np.unique(made)) == {0, 1}
    share = made.mean(axis=(1, 2))
    if kind == "halves":
        assert (share == 0.5).all() and len(np.unique(made, axis=0)) == 4
    else:
        inside = (share >= 0.2) & (share <= 0.4)
        assert (inside | (share == 0.5)).all() and (kind == "mixture") == bool((share == 0.5).any())
        assert np.ptp(share[inside]) > 0.1 and len(np.unique(made, axis=0)) > 40
    assert np.array_equal(made[7], masks(stream(0, "mask", 7), 32)), "a function of the generator alone"


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("semantic", "channels", {"channels": 0}),
        ("low_resolution", "factor", {"factor": 5}),
        ("low_resolution", "degradation", {"degradation": "nearest"}),
        ("low_resolution", "noise", {"noise": [5, 1]}),
        ("low_resolution", "jpeg", {"jpeg": [0, 50]}),
        ("masked_image", "masks", {"masks": "box"}),
        ("masked_image", "fraction", {"fraction": [0.3, 0.3]}),
    ],
)
def test_bad_options(name: str, key: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as error:
        made(name, **change)
    assert error.value.key == f"conditioner.{key}"
