"""The judges' networks: shapes, which pixels an answer depends on, refusals."""

import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.networks.judge import JudgeNet, PixelNet

SIZES = {"ch": 4, "ch_mult": [1, 2], "num_res_blocks": 1, "dropout": 0.0}


@pytest.mark.parametrize("stem", [1, 2])
def test_an_answer_an_image_and_an_answer_a_pixel(stem):
    x = torch.zeros(2, 3, 16, 16)
    assert JudgeNet(outputs=5, stem=stem, **SIZES)(x).shape == (2, 5)
    assert PixelNet(outputs=5, stem=stem, **SIZES)(x).shape == (2, 5, 16, 16)


@pytest.mark.parametrize("kind", [JudgeNet, PixelNet])
def test_every_parameter_learns(kind):
    """From the initialisation that trainings start with: blocks that start as their skip path wake up."""
    torch.manual_seed(0)
    net = kind(outputs=3, stem=2, **SIZES).double()  # small steps from 1.0 would round away in float32
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    for _ in range(2):  # the first step opens the blocks, the second reaches what is inside them
        optimizer.zero_grad()
        (net(x) - 1).square().mean().backward()
        optimizer.step()
    for (name, p), old in zip(net.named_parameters(), before, strict=True):
        assert bool((p != old).all()), name


@pytest.mark.parametrize("kind", [JudgeNet, PixelNet])
def test_every_pixel_is_looked_at_in_every_colour(kind):
    torch.manual_seed(0)
    net = kind(outputs=3, stem=2, **SIZES)
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    for output in range(3):
        answer = net(x)[:, output]
        (slope,) = torch.autograd.grad(answer.sum(), x)
        assert bool((slope != 0).all()), output


def test_sides_and_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match="divisible by 4"):
        JudgeNet(outputs=3, stem=2, **SIZES)(torch.zeros(1, 3, 18, 18))
    for change in ({"ch": 0}, {"ch_mult": []}, {"dropout": 1.0}):
        with pytest.raises(ConfigError) as error:
            PixelNet(outputs=3, stem=1, **{**SIZES, **change})
        assert error.value.key == f"judge.network.{next(iter(change))}"
