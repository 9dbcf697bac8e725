"""The U-Net: the paper's parameter counts, shapes, conditioning, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.networks.transformer import timestep_embedding
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


def filled(net: nn.Module) -> nn.Module:
    """Zero-initialised layers hide what comes before them: give them weights."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return net.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


T2 = torch.tensor([3.0, 700.5])

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


@pytest.mark.parametrize("options", [{}, {"scale_shift": True, "resblock_updown": True}, {"heads": 2}])
def test_starts_at_zero_and_every_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = TINY | {"context_dim": 6, "vector_dim": 5, "spatial_channels": 1, "out_channels": 8} | options
    if "heads" in options:
        config["head_channels"] = None
    net = UNet(**config)
    cond = Cond(vector=noise(2, 5), tokens=noise(2, 3, 6), spatial=noise(2, 1, 8, 8))
    out = net(noise(2, 4, 8, 8), T2, cond)
    assert out.shape == (2, 8, 8, 8)
    assert not out.any()
    filled(net)(noise(2, 4, 8, 8), T2, cond).square().mean().backward()
    # A convolution's bias before a norm with one channel a group cancels: its gradient is zero up to rounding.
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    assert [n for n, p in net.named_parameters() if n.endswith("weight") and not p.grad.any()] == []


@pytest.mark.parametrize("part", ["vector", "tokens", "spatial"])
def test_each_part_of_the_condition_matters(part: str) -> None:
    parts = {"vector": noise(2, 5), "tokens": noise(2, 3, 6), "spatial": noise(2, 1, 8, 8)}
    net = filled(UNet(**TINY, context_dim=6, vector_dim=5, spatial_channels=1))
    x = noise(2, 4, 8, 8)
    other = parts | {part: parts[part] + 1}
    assert (net(x, T2, Cond(**parts)) - net(x, T2, Cond(**other))).abs().max() > 1e-3


@pytest.mark.parametrize("ch", [8, 16, 32, 64])
def test_time_matters_at_any_width_and_may_be_real(ch: int) -> None:
    net = filled(UNet(**TINY | {"ch": ch}))
    x = noise(2, 4, 8, 8)
    assert (net(x, T2) - net(x, T2 + 0.25)).abs().max() > 1e-4
    torch.testing.assert_close(net(x, T2.double()), net(x, T2), atol=1e-3, rtol=1e-3)


def test_rows_do_not_mix() -> None:
    net = filled(UNet(**TINY, context_dim=6))
    x, tokens = noise(2, 4, 8, 8), noise(2, 3, 6)
    both = net(x, T2, Cond(tokens=tokens))
    torch.testing.assert_close(both[1:], net(x[1:], T2[1:], Cond(tokens=tokens[1:])), atol=1e-5, rtol=1e-4)


def test_masked_tokens_change_nothing() -> None:
    net = filled(UNet(**TINY, context_dim=6))
    x, tokens = noise(2, 4, 8, 8), noise(2, 3, 6)
    plain = net(x, T2, Cond(tokens=tokens))
    padded = torch.cat([tokens, 10 * noise(2, 2, 6, seed=5)], dim=1)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    torch.testing.assert_close(net(x, T2, Cond(tokens=padded, mask=mask)), plain, atol=1e-5, rtol=1e-5)
    assert (net(x, T2, Cond(tokens=padded)) - plain).abs().max() > 1e-3


def test_checkpointing_gives_the_same_gradients() -> None:
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = filled(UNet(**TINY, context_dim=6, dropout=0.2, checkpointing=checkpointing)).train()
        torch.manual_seed(3)
        net(noise(2, 4, 8, 8), T2, Cond(tokens=noise(2, 3, 6))).square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(grads[0], grads[1])


def test_overfits_one_batch() -> None:
    torch.manual_seed(0)
    net = UNet(**TINY, context_dim=6)
    x, target, cond = noise(4, 4, 8, 8), noise(4, 4, 8, 8, seed=1), Cond(tokens=noise(4, 1, 6))
    t = torch.tensor([0.0, 100.0, 500.0, 999.0])
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (net(x, t, cond) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("network.ch", {"ch": 0}),
        ("network.ch_mult", {"ch_mult": []}),
        ("network.attn_factors", {"attn_factors": [4]}),
        ("network.heads", {"heads": 2}),
        ("network.heads", {"head_channels": None}),
        ("network.heads", {"head_channels": None, "heads": 3}),
        ("network.head_channels", {"head_channels": 7}),
        ("network.context_dim", {"context_dim": 0}),
        ("network.dropout", {"dropout": 1.0}),
        ("network.spatial_channels", {"spatial_channels": -1}),
    ],
)
def test_bad_arguments_name_their_key(key: str, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as e:
        UNet(**TINY | change)
    assert e.value.key == key


@pytest.mark.parametrize(
    ("key", "built", "cond"),
    [
        ("network.context_dim", {}, Cond(tokens=noise(2, 1, 6))),
        ("network.context_dim", {"context_dim": 6}, Cond()),
        ("network.context_dim", {"context_dim": 6}, Cond(tokens=noise(2, 1, 7))),
        ("network.context_dim", {}, Cond(mask=torch.ones(2, 1, dtype=torch.bool))),
        ("network.vector_dim", {}, Cond(vector=noise(2, 5))),
        ("network.vector_dim", {"vector_dim": 5}, None),
        ("network.spatial_channels", {}, Cond(spatial=noise(2, 1, 8, 8))),
        ("network.spatial_channels", {"spatial_channels": 2}, Cond()),
    ],
)
def test_conditions_that_do_not_fit_name_their_key(key: str, built: dict[str, Any], cond: Cond | None) -> None:
    with pytest.raises(ConfigError) as e:
        UNet(**TINY | built)(noise(2, 4, 8, 8), T2, cond)
    assert e.value.key == key


def test_latents_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"network\.in_channels"):
        UNet(**TINY)(noise(2, 3, 8, 8), T2)
    with pytest.raises(ConfigError, match=r"network\.ch_mult"):
        UNet(**TINY)(noise(2, 4, 7, 8), T2)
