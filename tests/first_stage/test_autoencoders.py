from typing import Any

import pytest
import torch
from first_stage_parts import SMALL
from omegaconf import OmegaConf

from ablatent.core.errors import ConfigError
from ablatent.first_stage.autoencoder import Autoencoder, positive
from ablatent.first_stage.base import FirstStage
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.first_stage.kl import KLAutoencoder, gaussian_kl
from ablatent.first_stage.vq import VQAutoencoder

PAPER = {"ch": 128, "num_res_blocks": 2, "dropout": 0.0, "stem": 1}
CODES = {"n_embed": 16, "beta": 0.25, "restart_every": 5, "init": "uniform"}


def small(kind: str, **changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    if kind == "kl":
        return KLAutoencoder(**{**SMALL, **changes})
    return VQAutoencoder(**{**SMALL, **CODES, **changes})


@pytest.mark.parametrize(
    ("mult", "z", "attention", "codes", "mid", "millions"),
    [
        ([1, 2, 4], 3, [], None, True, 55.31),
        ([1, 2, 4, 4], 4, [], None, True, 83.65),
        ([1, 1, 2, 2, 4], 16, [16], None, True, 69.61),
        ([1, 1, 2, 2, 4, 4], 64, [16, 32], None, True, 103.88),
        ([1, 2, 4], 3, [], 8192, True, 55.32),
        ([1, 2, 4], 3, [], 8192, False, 53.22),
        ([1, 2, 2, 4], 4, [8], 16384, True, 67.72),
        ([1, 1, 2, 2, 4], 8, [16], 16384, True, 69.59),
    ],
    ids=["kl-f4", "kl-f8", "kl-f16", "kl-f32", "vq-f4", "vq-f4-noattn", "vq-f8", "vq-f16"],
)
def test_published_autoencoders_have_their_parameter_counts(
    mult: list[int], z: int, attention: list[int], codes: int | None, mid: bool, millions: float
) -> None:
    options: dict[str, Any] = {
        **PAPER,
        "ch_mult": mult,
        "z_channels": z,
        "attn_factors": attention,
        "mid_blocks": 2,
        "mid_attention": mid,
    }
    with torch.device("meta"):
        model: Autoencoder
        if codes is None:
            model = KLAutoencoder(**options)
        else:
            model = VQAutoencoder(**options, n_embed=codes, beta=0.25, restart_every=None, init="uniform")
        moments = model.moments(torch.empty(1, 3, 64, 64))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
    assert (
        tuple(moments.mean.shape[1:])
        == model.latent_shape(64, 64)
        == (z, 64 // model.downsample, 64 // model.downsample)
    )
    assert model.downsample == 2 ** (len(mult) - 1)


@pytest.mark.parametrize("kind", ["kl", "vq"])
@pytest.mark.parametrize(("stem", "mult", "factor"), [(1, [1], 1), (1, [1, 2], 2), (2, [1, 2], 4), (4, [1, 1, 2], 16)])
def test_shapes_for_every_factor(kind: str, stem: int, mult: list[int], factor: int) -> None:
    model = small(kind, stem=stem, ch_mult=OmegaConf.create(mult), attn_factors=OmegaConf.create([factor]))
    x = torch.rand(2, 3, 32, 16) * 2 - 1
    moments = model.moments(x)
    assert moments.mean.shape == moments.std.shape == (2, 4, 32 // factor, 16 // factor)
    assert model.downsample == factor
    assert model.decode(moments.mean).shape == x.shape
    rec = model(x, torch.zeros_like(moments.mean))
    assert rec.x_hat.shape == x.shape
    assert rec.regularizer.ndim == 0


def test_stem_folds_and_unfolds_pixels_in_place() -> None:
    """A pixel changes only the latents near it, and comes out near where it went in."""
    model = small("kl", ch_mult=[1], stem=4).double()
    for m in model.modules():
        if isinstance(m, torch.nn.GroupNorm):
            m.forward = lambda h: h  # type: ignore[method-assign]  # it sees the whole image
    x = torch.rand(1, 3, 96, 96, dtype=torch.float64) * 2 - 1
    y = x.clone()
    y[0, :, 40, 56] += 1.0
    moved = (model.moments(x).mean - model.moments(y).mean).abs().sum(dim=(0, 1)) > 1e-12
    rows, columns = torch.nonzero(moved, as_tuple=True)
    assert (rows.min() + rows.max()) / 2 == 10
    assert (columns.min() + columns.max()) / 2 == 14


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_every_parameter_gets_a_gradient_and_the_last_layer_is_the_output(kind: str) -> None:
    model = small(kind)
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    rec = model(x, torch.randn(4, 4, 4, 4))
    (rec.x_hat.square().mean() + rec.regularizer).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert model.last_layer() is model.decoder.conv_out.weight


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_the_pass_draws_no_random_numbers(kind: str) -> None:
    model = small(kind)
    x, noise = torch.rand(2, 3, 16, 16), torch.randn(2, 4, 4, 4)
    before = torch.get_rng_state()
    a, b = model(x, noise).x_hat, model(x, noise).x_hat
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b)


def test_kl_samples_mean_plus_std_times_noise() -> None:
    model = small("kl")
    x, noise = torch.rand(2, 3, 16, 16), torch.randn(2, 4, 4, 4)
    m = model.moments(x)
    assert torch.equal(model(x, noise).x_hat, model.decode(m.mean + m.std * noise))
    assert (m.std > 0).all()


def test_kl_equals_torch_distributions() -> None:
    mean, logvar = torch.randn(3, 4, 2, 2).double(), torch.randn(3, 4, 2, 2).double()
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    assert torch.allclose(gaussian_kl(mean, logvar), expected)


def test_kl_log_variance_is_clamped() -> None:
    model = small("kl")
    with torch.no_grad():
        model.quant_conv.bias[4:] = 1e4
    std = model.moments(torch.rand(1, 3, 16, 16)).std
    assert torch.allclose(std, torch.full_like(std, 10.0).exp())


def test_identity_is_pixel_space() -> None:
    model: FirstStage = IdentityFirstStage()
    x = torch.rand(2, 3, 8, 8)
    m = model.moments(x)
    assert torch.equal(model.decode(m.mean), x)
    assert not m.std.any()
    assert model.latent_shape(8, 8) == (3, 8, 8)
    assert not model.trainable
    assert list(model.parameters()) == []
    with pytest.raises(ConfigError, match="kl or vq"):
        model.last_layer()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"ch": 0}, "first_stage.ch"),
        ({"ch_mult": []}, "first_stage.ch_mult"),
        ({"ch_mult": [1, 0]}, "first_stage.ch_mult"),
        ({"num_res_blocks": 0}, "first_stage.num_res_blocks"),
        ({"z_channels": -4}, "first_stage.z_channels"),
        ({"attn_factors": [8]}, "first_stage.attn_factors"),
        ({"dropout": 1.0}, "first_stage.dropout"),
        ({"stem": 3}, "first_stage.stem"),
        ({"n_embed": 0}, "first_stage.n_embed"),
        ({"beta": -1.0}, "first_stage.beta"),
        ({"restart_every": 0}, "first_stage.restart_every"),
        ({"init": "kmean"}, "first_stage.init"),
        ({"update": "average"}, "first_stage.update"),
        ({"ema_decay": 1.0}, "first_stage.ema_decay"),
        ({"beta_placement": "encoder"}, "first_stage.beta_placement"),
    ],
)
def test_bad_options_name_their_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        small("vq", **change)
    assert error.value.key == key


def test_a_size_that_the_factor_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 4") as error:
        small("kl").moments(torch.zeros(1, 3, 16, 18))
    assert error.value.key == "data.size"


@pytest.mark.parametrize("value", [1.5, True, "2", None])
def test_a_width_that_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(ConfigError) as error:
        positive("ch", value)
    assert error.value.key == "first_stage.ch"
