"""What every network of conf/network does beside its invariants (tests/checks): checkpointing, learning, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablatent.checks.network import ALL_COND, T2, built, filled, noise, parts
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from options import names_of, option_of

NAMES = names_of("network")
PRESETS = names_of("preset")

each_network = pytest.mark.parametrize("name", NAMES)


def config(name: str, preset: str = "tiny") -> dict[str, Any]:
    return dict(option_of("network", name, preset).node)


def build(name: str, preset: str = "tiny", seed: int = 0, **changes: Any) -> nn.Module:
    return built(option_of("network", name, preset), seed, **changes)


@each_network
@pytest.mark.parametrize("preset", PRESETS)
def test_gives_a_map_of_any_size_in_every_preset(name: str, preset: str) -> None:
    net = filled(build(name, preset, out_channels=8))
    with torch.no_grad():
        for size in ((8, 8), (16, 24)):
            out = net(noise(2, 4, *size), T2)
            assert out.shape == (2, 8, *size)
            assert torch.isfinite(out).all()


@each_network
def test_no_condition_is_an_empty_one(name: str) -> None:
    net, x = filled(build(name)), noise(2, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(x, T2, Cond()), net(x, T2), atol=0, rtol=0)


def gradients(name: str, checkpointing: bool, bf16: bool) -> list[Tensor]:
    dropout = {"dropout": 0.2} if "dropout" in config(name) else {}
    net = filled(build(name, **ALL_COND, **dropout, checkpointing=checkpointing)).train()
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = net(noise(2, 4, 8, 8), T2, Cond(**parts())).float().square().mean()
    loss.backward()  # outside autocast, as in training
    return [p.grad for p in net.parameters()]


@each_network
@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_gives_the_same_gradients(name: str, bf16: bool) -> None:
    """With dropout, and under autocast.

    The checkpoint function of the released LDM code calls the blocks again without the autocast of the first pass:
    under bf16 it fails on mixed types, or gives the gradients of other activations.
    """
    plain, saved = gradients(name, False, bf16), gradients(name, True, bf16)
    torch.testing.assert_close(saved, plain, atol=0, rtol=0)
    if bf16:
        full = gradients(name, True, False)
        assert max((a - b).abs().max() / b.abs().max() for a, b in zip(saved, full, strict=True) if b.any()) > 1e-3


@each_network
def test_checkpointing_keeps_less(name: str) -> None:
    kept = []
    for checkpointing in (False, True):
        net, saved = filled(build(name, checkpointing=checkpointing)).train(), [0]

        def pack(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(noise(8, 4, 8, 8), torch.arange(8.0))
        kept.append(saved[0])
    assert kept[1] < 0.5 * kept[0]


@each_network
def test_bad_arguments_name_their_key(name: str) -> None:
    """Every size of the YAML, the shapes that are filled in, and the options that some networks have."""
    bad: dict[str, Any] = {k: 0 for k, v in config(name).items() if isinstance(v, int) and not isinstance(v, bool)}
    bad |= {"in_channels": 0, "out_channels": 0, "context_dim": 0, "vector_dim": 0, "spatial_channels": -1}
    bad |= {k: v for k, v in {"dropout": 1.0, "head_channels": 7}.items() if k in config(name)}
    for key, value in bad.items():
        with pytest.raises(ConfigError) as e:
            build(name, **{key: value})
        assert (e.value.key, e.value.got) == (f"network.{key}", value)
    if {"heads", "head_channels"} <= set(config(name)):
        for heads in ({"heads": 2}, {"heads": None}, {"heads": 7}):
            with pytest.raises(ConfigError) as e:
                build(name, **{"head_channels": 16 if heads == {"heads": 2} else None} | heads)
            assert e.value.key == "network.heads"
        build(name, head_channels=None, heads=2)


@each_network
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
def test_conditions_that_do_not_fit_name_their_key(
    name: str, key: str, built: dict[str, Any], cond: Cond | None
) -> None:
    with pytest.raises(ConfigError) as e:
        build(name, **built)(noise(2, 4, 8, 8), T2, cond)
    assert e.value.key == key


@each_network
def test_latents_of_other_channels_name_their_key(name: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.in_channels: expected 3"):
        build(name)(noise(2, 3, 8, 8), T2)
