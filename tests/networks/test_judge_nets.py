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


def test_every_parameter_learns_and_every_pixel_is_looked_at():
    for net in (JudgeNet(outputs=3, stem=2, **SIZES), PixelNet(outputs=3, stem=2, **SIZES)):
        for p in net.parameters():  # the last convolution of a block starts at zero, which hides those before it
            torch.nn.init.normal_(p, std=0.1)
        x = torch.randn(1, 3, 16, 16, requires_grad=True)
        net(x).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
        assert bool((x.grad.abs().sum(dim=1) > 0).all())


def test_sides_and_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match="divisible by 4"):
        JudgeNet(outputs=3, stem=2, **SIZES)(torch.zeros(1, 3, 18, 18))
    for change in ({"ch": 0}, {"ch_mult": []}, {"dropout": 1.0}):
        with pytest.raises(ConfigError) as error:
            PixelNet(outputs=3, stem=1, **{**SIZES, **change})
        assert error.value.key == f"judge.network.{next(iter(change))}"
