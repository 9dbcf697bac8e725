"""Gradients are sent to the other ranks while the backward pass computes others; here a group of one does it."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ablatent.core.errors import StageError
from ablatent.training import overlap
from ablatent.training.overlap import GradientAverage

LAYERS, WIDTH = 4, 8


@pytest.fixture(autouse=True)
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))


def passed(network):
    network(torch.ones(2, WIDTH)).square().sum().backward()


def gradients(network):
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize(("size", "buckets"), [(1, 2 * LAYERS), (4 * (WIDTH**2 + WIDTH), LAYERS), (10**6, 1)])
def test_buckets_leave_while_gradients_come(network, monkeypatch, size, buckets):
    """When the gradients of the first layer are still to come, those of all others are on their way."""
    monkeypatch.setattr(overlap, "FIRST", size)
    monkeypatch.setattr(overlap, "BUCKET", size)
    passed(network)
    expected = gradients(network)
    network.zero_grad()
    average = GradientAverage(list(network.parameters()))
    assert len(average.buckets) == buckets
    sent = []
    network[1].register_full_backward_hook(lambda *_: sent.append(average.sent))
    with average.during():
        passed(network)
    assert sent == [buckets * (LAYERS - 1) // LAYERS], "one layer has not given its gradients by then"
    average.finish()
    assert all(torch.equal(a, b) for a, b in zip(gradients(network), expected, strict=True))
    assert average.sent == 0 and not average.sending


def test_only_the_last_micro_batch_sends(network):
    average = GradientAverage(list(network.parameters()))
    passed(network)
    assert average.sent == 0
    once = gradients(network)
    with average.during():
        passed(network)
    assert average.sent == len(average.buckets) > 0
    average.finish()
    assert all(torch.equal(a, 2 * b) for a, b in zip(gradients(network), once, strict=True))


def test_parameters_without_gradients_hold_nothing_up(network, monkeypatch):
    monkeypatch.setattr(overlap, "FIRST", 1)
    monkeypatch.setattr(overlap, "BUCKET", 1)
    network[3].requires_grad_(False)
    beside = nn.Linear(2, 2)  # not in the graph
    average = GradientAverage([*beside.parameters(), *network.parameters()])
    with average.during():
        passed(network)
    average.finish()
    assert beside.weight.grad is None and network[3].weight.grad is None and network[0].weight.grad is not None


def test_a_backward_pass_after_the_last_is_an_error(network):
    average = GradientAverage(list(network.parameters()))
    with average.during():
        passed(network)
    with pytest.raises(StageError, match="after the last backward pass"):
        passed(network)
