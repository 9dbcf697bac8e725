"""Decoding by tiles against decoding at once."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ablatent.conditioning.none import NoConditioner
from ablatent.core.errors import ConfigError, StageError
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.first_stage.kl import KLAutoencoder
from ablatent.schedules.linear import Linear
from ablatent.sweep.combination_rules import decode_tiles
from ablatent.tasks.generate import Model
from ablatent.tasks.tiles import Tiling, decode_in_tiles


class Local(nn.Module):
    """Three 3x3 convolutions around two doublings: it looks 2 latents far (1 + 1/2 + 1/4, rounded up)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        up = nn.Upsample(scale_factor=2)
        a, b, c = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.body = nn.Sequential(a, nn.SiLU(), up, b, nn.SiLU(), up, c)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.body(z)
        return out


def recorded(decode: Callable[[Tensor], Tensor]) -> tuple[Callable[[Tensor], Tensor], list[tuple[int, ...]]]:
    shapes: list[tuple[int, ...]] = []

    def through(z: Tensor) -> Tensor:
        shapes.append(tuple(z.shape[-2:]))
        return decode(z)

    return through, shapes


@pytest.mark.parametrize(("height", "width", "tiles"), [(33, 21, 8), (16, 40, 4), (17, 16, 2), (16, 16, 1), (9, 12, 1)])
@torch.no_grad()
def test_a_local_decoder_gives_what_it_gives_at_once(height: int, width: int, tiles: int) -> None:
    z = torch.randn(2, 4, height, width)
    decode, shapes = recorded(Local())
    got = decode_in_tiles(decode, z, Tiling(16, 8), 4)
    assert got.shape == (2, 3, 4 * height, 4 * width)
    assert shapes == [(min(height, 16), min(width, 16))] * tiles
    torch.testing.assert_close(got, decode(z), rtol=0, atol=1e-5)
    if tiles > 1:  # with too little overlap the edges of tiles are seen
        assert (decode_in_tiles(decode, z, Tiling(16, 4), 4) - decode(z)).abs().max() > 1e-3


@pytest.mark.parametrize("overlap", [0, 1, 3, 5])
@pytest.mark.parametrize("size", [10, 11, 13, 20, 37])
def test_shares_sum_to_one_and_lie_in_their_tiles(overlap: int, size: int) -> None:
    tiling = Tiling(10, overlap)
    starts, shares = tiling.starts(size), tiling.shares(size, 3)
    torch.testing.assert_close(torch.stack(shares).sum(dim=0), torch.ones(3 * size, dtype=torch.float64))
    assert starts[-1] + 10 == size and all(b - a <= 10 - overlap for a, b in pairwise(starts))
    for start, share in zip(starts, shares, strict=True):
        outside = torch.ones(3 * size, dtype=torch.bool)
        outside[3 * start : 3 * start + 30] = False
        assert not share[outside].any() and (share >= 0).all()


def small() -> KLAutoencoder:
    torch.manual_seed(0)
    model = KLAutoencoder(
        ch=16, ch_mult=[1, 2], num_res_blocks=1, z_channels=4, attn_factors=[], mid_blocks=1, mid_attention=True,
        dropout=0.0, stem=2,
    )  # fmt: skip
    return model.eval()


@torch.no_grad()
def test_statistics_of_tiles_differ_from_those_of_the_whole_without_seams() -> None:
    """Group normalisation and attention see a tile: the error must be small, and it must have no steps."""
    decode = small().decode
    z = nn.functional.interpolate(torch.randn(1, 4, 7, 7), size=(29, 30), mode="bicubic")
    whole = decode(z)

    def seam(error: Tensor) -> float:
        """The mean step of the error from one column, or row, to the next: the largest over the median."""
        steps = error.diff(dim=-1).abs().mean(dim=(0, 1, 2)), error.diff(dim=-2).abs().mean(dim=(0, 1, 3))
        return max(float(s.max() / s.median()) for s in steps)

    hard, soft = (decode_in_tiles(decode, z, Tiling(16, overlap), 4) - whole for overlap in (0, 8))
    assert soft.square().mean().sqrt() < 0.25 * whole.std()
    assert seam(soft) < 2 < 3 < seam(hard)


def test_the_model_decodes_by_tiles_and_says_where_nan_came_from() -> None:
    normalizer = LatentNormalizer((0.5,) * 4, (2.0,) * 4)
    denoiser = Denoiser(nn.Identity(), Linear(T=10, beta_start=1e-4, beta_end=0.02, zero_terminal_snr=False), V())
    whole = Model(
        first_stage=small(), normalizer=normalizer, denoiser=denoiser, conditioner=NoConditioner(),
        latent_shape=(4, 24, 24), device=torch.device("cpu"),
    )  # fmt: skip
    tiled = replace(whole, tiling=Tiling(16, 8))
    z = torch.randn(1, 4, 24, 24)
    expected = decode_in_tiles(whole.first_stage.decode, normalizer.denormalize(z), Tiling(16, 8), 4)
    assert torch.equal(tiled.decode(z), expected) and not torch.equal(tiled.decode(z), whole.decode(z))
    torch.nn.init.constant_(tiled.first_stage.last_layer(), float("inf"))
    with pytest.raises(StageError, match="samples: the first stage's decoder"):
        tiled.decode(z)
    z[0, 0, 0, 0] = float("nan")
    with pytest.raises(StageError, match="samples: sampling"):
        tiled.decode(z)


@pytest.mark.parametrize(("tile", "overlap", "key"), [(1, 0, "tile"), (16, 9, "overlap"), (16, -1, "overlap")])
def test_bad_tilings_name_their_key(tile: int, overlap: int, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Tiling(tile, overlap)
    assert error.value.key == f"samples.decode_{key}"
    if key == "overlap":
        with pytest.raises(ConfigError, match="from 0 to 8"):
            decode_tiles({"samples": {"decode_tile": tile, "decode_overlap": overlap}})
