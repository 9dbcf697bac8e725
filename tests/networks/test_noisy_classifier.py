"""The classifier of noisy latents: shapes, what it depends on, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ablatent.core.errors import ConfigError
from ablatent.networks.noisy_classifier import POOLS, NoisyClassifier

TINY: dict[str, Any] = {
    "in_channels": 4,
    "classes": 3,
    "ch": 16,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_factors": [2],
    "head_channels": 8,
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(**change: Any) -> NoisyClassifier:
    """Zero-initialised layers hide what comes before them: give them weights."""
    torch.manual_seed(0)
    net = NoisyClassifier(**TINY | change)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.copy_(0.1 * torch.randn(p.shape))
    return net.eval()


T2 = torch.tensor([3.0, 700.5])


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("size", [2, 8])
def test_logits_of_any_size_and_every_parameter_gets_a_gradient(pool: str, size: int) -> None:
    assert not NoisyClassifier(**TINY | {"pool": pool})(noise(2, 4, size, size), T2).any()
    net = filled(pool=pool)
    out = net(noise(2, 4, size, size), T2)
    assert out.shape == (2, 3)
    out.square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    # at one position, softmax has nothing to choose from: queries and keys get none
    if size > 2:
        assert [n for n, p in net.named_parameters() if n.endswith("weight") and not p.grad.any()] == []


@pytest.mark.parametrize("pool", POOLS)
def test_time_matters_may_be_real_and_rows_do_not_mix(pool: str) -> None:
    net, x = filled(pool=pool), noise(2, 4, 8, 8)
    assert (net(x, T2) - net(x, T2 + 0.25)).abs().max() > 1e-4
    torch.testing.assert_close(net(x, T2)[1:], net(x[1:], T2[1:]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", POOLS)
def test_overfits_one_batch(pool: str) -> None:
    torch.manual_seed(0)
    net = NoisyClassifier(**TINY | {"pool": pool})
    x, t, label = noise(6, 4, 8, 8), torch.linspace(0, 999, 6), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = cross_entropy(net(x, t), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-4)
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("classifier.network", {"classes": 1}),
        ("classifier.network.ch", {"ch": 0}),
        ("classifier.network.ch_mult", {"ch_mult": []}),
        ("classifier.network.attn_factors", {"attn_factors": [4]}),
        ("classifier.network.head_channels", {"head_channels": 7}),
        ("classifier.network.dropout", {"dropout": 1.0}),
        ("classifier.network.pool", {"pool": "max"}),
    ],
)
def test_bad_arguments_name_their_key(key: str, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as e:
        NoisyClassifier(**TINY | change)
    assert e.value.key == key


def test_latents_that_do_not_fit() -> None:
    for shape in ((2, 3, 8, 8), (2, 4, 7, 8)):
        with pytest.raises(ConfigError, match=r"classifier\.network"):
            NoisyClassifier(**TINY)(noise(*shape), T2)
