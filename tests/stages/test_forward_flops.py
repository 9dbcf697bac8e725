"""Operations of forward passes against counts by hand and torch's own counter."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablatent.stages.forward_flops import ForwardFlops
from ablatent.stages.models import blank_condition, dummy_inputs, make_network
from ablatent.stages.step_memory import pass_cost
from composing import composed


def counted(run: Any) -> int:
    flops = ForwardFlops()
    with flops:
        run()
    return flops.total


def test_a_small_network_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 8x8 outputs of 8 channels, each of 27 products
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),  # 4x4, each output of 9 * 2 products
        nn.ConvTranspose2d(8, 4, 2, stride=2),  # each of 8 * 16 inputs meets 4 * 4 weights
        nn.Flatten(),
        nn.Linear(4 * 64, 10),
    )
    by_hand = 2 * (64 * 8 * 27 + 16 * 8 * 18 + 8 * 16 * 16 + 256 * 10)
    assert counted(lambda: net(torch.zeros(1, 3, 8, 8))) == by_hand
    assert counted(lambda: net(torch.zeros(5, 3, 8, 8))) == 5 * by_hand


def test_the_first_of_several_is_counted() -> None:
    net, flops = nn.Linear(3, 5), ForwardFlops()
    outputs = list(flops.of_first(net(torch.zeros(n, 3)) for n in (4, 1, 2)))
    assert [len(out) for out in outputs] == [4, 1, 2] and flops.total == 2 * 4 * 5 * 3
    assert list(ForwardFlops().of_first(iter(()))) == []


def test_products_and_attention_by_hand() -> None:
    q, k, v = torch.zeros(2, 4, 16, 8), torch.zeros(2, 4, 9, 8), torch.zeros(2, 4, 9, 5)
    assert counted(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * 2 * 4 * 16 * 9 * (8 + 5)
    assert counted(lambda: q @ k.transpose(-1, -2)) == 2 * 2 * 4 * 16 * 9 * 8
    assert counted(lambda: torch.bmm(q[0], k[0].mT)) == 2 * 4 * 16 * 9 * 8
    assert counted(lambda: torch.baddbmm(torch.zeros(4, 16, 9), q[0], k[0].mT)) == 2 * 4 * 16 * 9 * 8
    assert counted(lambda: F.silu(q + 1)) == 0


def test_the_cost_of_a_pass_is_that_of_one_image_whatever_the_batch() -> None:
    net = nn.Linear(10, 20)
    for batch_size in (1, 3, 4, 64):
        _, flops = pass_cost(net, lambda n: net(torch.zeros(n, 10)), "32-true", batch_size)
        assert flops == 2 * 10 * 20


@pytest.mark.slow
@pytest.mark.parametrize("override", ["network=unet", "network=dit", "conditioner=class"])
def test_networks_as_torch_counts_them(override: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    config = composed("preset=tiny", "data=digits", override)
    setting = dummy_inputs((4, 16, 16), 32, 10)
    network, conditioner = make_network(config, setting, False)
    cond = blank_condition(conditioner, 1, setting)

    def run() -> None:
        network(torch.zeros(1, 4, 16, 16), torch.zeros(1), cond)

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attention = {on_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}
    with FlopCounterMode(display=False, custom_mapping=attention) as of_torch:
        run()
    assert counted(run) == of_torch.get_total_flops() > 0
