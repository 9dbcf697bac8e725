"""The U-Net: the paper's parameter counts, and where its attention and resizing stand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ablatent.checks.network import T2, filled, noise
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.networks.blocks import Downsample, ResBlock, SelfAttention2d, Upsample
from ablatent.networks.transformer import Attention, ResizeBlock, SpatialTransformer, timestep_embedding
from ablatent.networks.unet import UNet

TINY: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "ch": 16,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_factors": [2],
    "head_channels": 8,
}


# PAPER.md section 3: (latent channels in, extra input channels, out), width, multipliers, attention factors, millions
PAPER: dict[str, tuple[float, dict[str, Any]]] = {
    "celebahq_ldm4": (274.06, {"ch": 224, "ch_mult": [1, 2, 3, 4], "attn_factors": [8, 4, 2], "head_channels": 32}),
    "churches_ldm8": (
        294.97,
        {
            "in_channels": 4,
            "ch": 192,
            "ch_mult": [1, 2, 2, 4, 4],
            "attn_factors": [1, 2, 4, 8],
            "heads": 8,
            "scale_shift": True,
            "resblock_updown": True,
        },
    ),
    "imagenet_ldm8": (
        394.98,
        {
            "in_channels": 4,
            "ch": 256,
            "ch_mult": [1, 2, 4],
            "attn_factors": [4, 2, 1],
            "head_channels": 32,
            "context_dim": 512,
        },
    ),
    "imagenet_ldm4": (
        400.92,
        {"ch": 192, "ch_mult": [1, 2, 3, 5], "attn_factors": [8, 4, 2], "heads": 1, "context_dim": 512},
    ),
    "text_to_image": (
        872.30,
        {
            "in_channels": 4,
            "ch": 320,
            "ch_mult": [1, 2, 4, 4],
            "attn_factors": [4, 2, 1],
            "heads": 8,
            "context_dim": 1280,
        },
    ),
    "layout": (
        246.28,
        {
            "ch": 128,
            "ch_mult": [1, 2, 3, 4],
            "attn_factors": [8, 4, 2],
            "head_channels": 32,
            "context_dim": 512,
            "transformer_depth": 3,
        },
    ),
    "super_resolution": (
        113.62,
        {"ch": 160, "ch_mult": [1, 2, 2, 4], "attn_factors": [8], "head_channels": 32, "spatial_channels": 3},
    ),
    "inpainting": (
        387.25,
        {
            "ch": 256,
            "ch_mult": [1, 2, 3, 4],
            "attn_factors": [8, 4, 2],
            "heads": 8,
            "spatial_channels": 4,
            "resblock_updown": True,
        },
    ),
    "semantic_synthesis": (
        215.23,
        {"ch": 128, "ch_mult": [1, 4, 8], "attn_factors": [], "heads": 8, "spatial_channels": 3},
    ),
}


@pytest.mark.parametrize("name", PAPER)
def test_parameter_counts_of_the_paper(name: str) -> None:
    millions, config = PAPER[name]
    channels = config.get("in_channels", 3)
    with torch.device("meta"):
        net = UNet(**{"in_channels": channels, "out_channels": channels, "num_res_blocks": 2} | config)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


def test_time_embedding() -> None:
    t = torch.tensor([0.0, 2.5], dtype=torch.float64)
    e = timestep_embedding(t, 8)
    frequencies = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    torch.testing.assert_close(e[1], torch.cat([torch.cos(2.5 * frequencies), torch.sin(2.5 * frequencies)]))
    assert timestep_embedding(t, 9).shape == (2, 9)
    assert not timestep_embedding(t, 9)[:, -1].any()


@pytest.mark.parametrize(
    "options", [{"scale_shift": True, "resblock_updown": True}, {"heads": 2, "head_channels": None}]
)
def test_other_options_start_at_zero_and_give_every_parameter_a_gradient(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = UNet(**TINY | options)
    assert not net(noise(2, 4, 8, 8), T2).any()
    filled(net)(noise(2, 4, 8, 8), T2).square().mean().backward()
    # A convolution's bias before a norm with one channel a group cancels: its gradient is zero up to rounding.
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    assert [n for n, p in net.named_parameters() if n.endswith("weight") and not p.grad.any()] == []


@pytest.mark.parametrize("ch", [8, 16, 32, 64])
def test_time_matters_at_any_width(ch: int) -> None:
    net, x = filled(UNet(**TINY | {"ch": ch})), noise(2, 4, 8, 8)
    with torch.no_grad():
        assert (net(x, T2) - net(x, T2 + 0.25)).abs().max() > 1e-4


@pytest.mark.parametrize("context_dim", [None, 6])
@pytest.mark.parametrize("factors", [[], [2], [1, 4]])
def test_attention_stands_at_the_given_factors_and_in_the_middle(factors: list[int], context_dim: int | None) -> None:
    config = TINY | {"ch_mult": [1, 2, 2], "num_res_blocks": 2, "attn_factors": factors}
    net = UNet(**config, context_dim=context_dim, transformer_depth=3)
    kind = SelfAttention2d if context_dim is None else SpatialTransformer
    seen: list[int] = []
    for module in net.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda module, args, out: seen.append(16 // out.shape[2]))
        if isinstance(module, SelfAttention2d):
            assert module.heads == module.qkv.in_channels // 8
        if isinstance(module, SpatialTransformer):
            assert len(module.blocks) == 3
        if isinstance(module, Attention):
            assert module.heads == module.to_out.in_features // 8
    with torch.no_grad():
        net(noise(2, 4, 16, 16), T2, None if context_dim is None else Cond(tokens=noise(2, 3, 6)))
    assert seen == [f for f in (1, 2, 4) for _ in range(2) if f in factors] + [4] + [
        f for f in (4, 2, 1) for _ in range(3) if f in factors
    ]


def test_scale_shift_and_resizing_blocks_are_those_of_adm() -> None:
    net = UNet(**TINY | {"ch_mult": [1, 2, 2]}, scale_shift=True, resblock_updown=True)
    blocks = [m for m in net.modules() if isinstance(m, ResBlock)]
    assert all(b.scale_shift and b.emb is not None and b.emb.out_features == 2 * b.conv1.out_channels for b in blocks)
    resizing = [b for b in blocks if isinstance(b, ResizeBlock)]
    assert not [m for m in net.modules() if isinstance(m, Downsample | Upsample)]
    assert [isinstance(b.resize, torch.nn.Upsample) for b in resizing] == [False, False, True, True]
    down, up = resizing[0], resizing[-1]
    x = noise(2, down.conv1.in_channels, 4, 4)
    torch.testing.assert_close(down(x, noise(2, 64)), F.avg_pool2d(x, 2))  # at its start: the skip path
    x = noise(2, up.conv1.in_channels, 4, 4)
    torch.testing.assert_close(up(x, noise(2, 64)), x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    plain = [m for m in UNet(**TINY).modules() if isinstance(m, ResBlock)]
    assert not any(b.scale_shift or isinstance(b, ResizeBlock) for b in plain)


def test_bad_arguments_and_latents_name_their_key() -> None:
    for key, value in {"ch_mult": [], "attn_factors": [4]}.items():
        with pytest.raises(ConfigError) as e:
            UNet(**TINY | {key: value})
        assert e.value.key == f"network.{key}"
    for size in ((7, 8), (8, 7)):
        with pytest.raises(ConfigError, match=r"network\.ch_mult"):
            UNet(**TINY)(noise(2, 4, *size), T2)
