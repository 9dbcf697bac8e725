"""The state of an optimiser in a checkpoint: taken up whatever the memory layout and the kernels of who wrote it."""

import copy

import pytest
import torch
from torch import nn

from ablatent.training.sharded import load_optimizer_state, optimizer_state


def net(layout: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 3)).to(memory_format=layout)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("wrote", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("reads", [torch.contiguous_format, torch.channels_last])
def test_a_fused_optimiser_goes_on_from_a_state_of_either_layout(
    wrote: torch.memory_format, reads: torch.memory_format
) -> None:
    before = net(wrote)
    first = torch.optim.Adam(before.parameters(), lr=0.1, fused=True)
    step(before, first, 0)
    state = copy.deepcopy(optimizer_state(first))
    after = net(reads)
    after.load_state_dict(before.state_dict())
    second = torch.optim.Adam(after.parameters(), lr=0.1, fused=True)
    load_optimizer_state(second, state)
    step(before, first, 1)
    step(after, second, 1)
    for a, b in zip(after.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_how_it_computes_is_not_taken_from_the_checkpoint() -> None:
    plain, fused = net(torch.channels_last), net(torch.channels_last)
    first = torch.optim.Adam(plain.parameters(), lr=0.1)
    step(plain, first, 0)
    second = torch.optim.Adam(fused.parameters(), lr=0.2, fused=True)
    load_optimizer_state(second, optimizer_state(first))
    assert [(g["fused"], g["lr"]) for g in second.param_groups] == [(True, 0.1)]
