"""Averages of weights: closed form, warm-up, several at once, swapping in and out, resume."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ablatent.core.errors import ConfigError
from ablatent.training.ema import EMA, EMAs


def module(value: float = 0.0) -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(value)
    return net


def set_to(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(value)


def test_closed_form() -> None:
    net, ema = module(1.0), EMA(0.9, warmup=False)
    ema.start(net)
    set_to(net, 3.0)
    for step in range(1, 21):
        ema.update(net, step)
    expected = 3.0 + (1.0 - 3.0) * 0.9**20
    assert ema.state_dict()["0.weight"].mean().item() == pytest.approx(expected, rel=1e-5)


def test_warmup() -> None:
    ema = EMA(0.99, warmup=True)
    assert ema.decay_at(1) == pytest.approx(2 / 11)
    assert ema.decay_at(10**6) == 0.99
    assert EMA(0.99, warmup=False).decay_at(1) == 0.99
    net = module(0.0)
    ema.start(net)
    expected = 0.0
    for step in range(1, 8):
        set_to(net, float(step))
        ema.update(net, step)
        d = (1 + step) / (10 + step)
        expected = d * expected + (1 - d) * step
    assert ema.state_dict()["0.bias"][0].item() == pytest.approx(expected, rel=1e-6)


def test_first_update_starts() -> None:
    net, ema = module(2.0), EMA(0.9, warmup=False)
    ema.update(net, 1)
    set_to(net, 5.0)
    assert ema.state_dict()["0.weight"].unique().tolist() == [2.0]


def test_low_precision_parameters_are_averaged_in_float32() -> None:
    net, ema = nn.Linear(1, 1).bfloat16(), EMA(0.999, warmup=False)
    set_to(net, 1.0)
    ema.start(net)
    set_to(net, 2.0)
    ema.update(net, 1)
    assert ema.state_dict()["weight"].dtype == torch.float32
    assert ema.state_dict()["weight"].item() == pytest.approx(1.001, abs=1e-6)


def test_buffers_are_copied() -> None:
    net, ema = module(), EMA(0.9, warmup=False)
    ema.start(net)
    net(torch.randn(8, 3) + 4)
    ema.update(net, 1)
    assert ema.state_dict()["1.num_batches_tracked"].item() == 1
    assert torch.equal(ema.state_dict()["1.running_var"], net[1].running_var)
    net(torch.randn(8, 3))
    assert ema.state_dict()["1.num_batches_tracked"].item() == 1


def test_applied_swaps_exactly_and_draws_nothing() -> None:
    torch.manual_seed(0)
    net, ema = nn.Linear(50, 50), EMA(0.7, warmup=False)
    ema.start(net)
    with torch.no_grad():
        net.weight.add_(torch.randn(50, 50))
    rng = torch.get_rng_state()
    ema.update(net, 1)
    own = {k: v.clone() for k, v in net.state_dict().items()}
    shadow = {k: v.clone() for k, v in ema.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"), ema.applied(net):
        assert torch.equal(net.weight, shadow["weight"])
        assert not torch.equal(net.weight, own["weight"])
        raise RuntimeError("inside")
    assert all(torch.equal(v, own[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(v, shadow[k]) for k, v in ema.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def test_resume_is_exact() -> None:
    def train(ema: EMA, net: nn.Module, steps: range) -> None:
        for step in steps:
            set_to(net, 1 / step)
            ema.update(net, step)

    net, whole = module(), EMA(0.95, warmup=True)
    train(whole, net, range(1, 11))
    net, first, second = module(), EMA(0.95, warmup=True), EMA(0.95, warmup=True)
    train(first, net, range(1, 6))
    second.load_state_dict(first.state_dict())
    train(second, net, range(6, 11))
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in whole.state_dict().items())
    module().load_state_dict(second.state_dict())


def test_an_update_follows_tensors_that_were_put_in_the_place_of_others() -> None:
    """Where weights lie is looked up once, but not which tensors lie there."""
    net, ema = module(1.0), EMA(0.5, warmup=False)
    ema.start(net)
    ema.update(net, 1)
    net[0].weight = nn.Parameter(torch.full_like(net[0].weight, 3.0))
    net[1].num_batches_tracked = torch.tensor(7)
    net[0].bias.data = torch.full_like(net[0].bias, 5.0)
    ema.update(net, 2)
    assert ema.state_dict()["0.weight"].unique().tolist() == [2.0]
    assert ema.state_dict()["0.bias"].unique().tolist() == [3.0]
    assert ema.state_dict()["1.num_batches_tracked"].item() == 7


def test_bad_input() -> None:
    for decay in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"training\.ema\.decay"):
            EMA(decay, warmup=True)
    ema = EMA(0.9, warmup=False)
    ema.start(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"0\.weight"):
        ema.update(module(), 1)
    with pytest.raises(ValueError), EMA(0.9, warmup=False).applied(module()):
        pass


def train(ema: EMA | EMAs, net: nn.Module, steps: range) -> None:
    for step in steps:
        set_to(net, 1 / step)
        ema.update(net, step)


def test_several_averages_each_follow_their_recursion() -> None:
    net, emas = module(), EMAs(0.9, warmup=False, extra_decays=[0.5, 0.0])
    emas.start(net)
    train(emas, net, range(1, 9))
    for (name, state), (expected_name, d) in zip(emas, [("ema", 0.9), ("ema_0.5", 0.5), ("ema_0.0", 0.0)], strict=True):
        expected = sum((1 - d) * d ** (8 - step) / step for step in range(1, 9))
        assert name == expected_name
        assert state["0.weight"].unique().tolist() == [pytest.approx(expected, rel=1e-6)]


@pytest.mark.parametrize("warmup", [False, True])
def test_several_at_once_equal_each_alone(warmup: bool) -> None:
    decays = {"ema": 0.9, "ema_0.99": 0.99, "ema_0.5": 0.5}
    net, emas = module(), EMAs(0.9, warmup, extra_decays=[0.99, 0.5])
    train(emas, net, range(1, 30))
    for name, state in emas:
        net, alone = module(), EMA(decays.pop(name), warmup)
        train(alone, net, range(1, 30))
        assert all(torch.equal(v, state[k]) for k, v in alone.state_dict().items())
    assert not decays


def test_names_of_decays() -> None:
    extra_decays = [0.9999, 0.99, 0.9999999, 0.5]
    names = [name for name, _ in EMAs(0.999, warmup=True, extra_decays=extra_decays)]
    assert names == ["ema", "ema_0.9999", "ema_0.99", "ema_0.9999999", "ema_0.5"]
    assert [name for name, _ in EMAs(0.999, warmup=True)] == ["ema"]


def test_warmup_counts_optimiser_steps_not_updates() -> None:
    net, emas = module(0.0), EMAs(0.99, warmup=True, extra_decays=[0.2])
    emas.start(net)
    set_to(net, 1.0)
    emas.update(net, 40)  # the first update: (1 + 40) / (10 + 40) = 0.82 is below 0.99 and above 0.2
    assert [state["0.bias"][0].item() for _, state in emas] == [pytest.approx(0.18), pytest.approx(0.8)]


def test_the_main_average_is_applied_and_taken_back() -> None:
    net, emas = module(0.0), EMAs(0.75, warmup=False, extra_decays=[0.5])
    emas.start(net)
    set_to(net, 1.0)
    emas.update(net, 1)
    with emas.main.applied(net):
        assert net[0].weight.unique().tolist() == [0.25]
    assert net[0].weight.unique().tolist() == [1.0]


def test_resume_of_several_is_exact(tmp_path: Path) -> None:
    net, whole = module(), EMAs(0.95, warmup=True, extra_decays=[0.5, 0.999])
    train(whole, net, range(1, 11))
    net, first, second = module(), EMAs(0.95, True, [0.5, 0.999]), EMAs(0.95, True, [0.5, 0.999])
    train(first, net, range(1, 6))
    torch.save(first.state_dict(), tmp_path / "emas.pt")
    second.load_state_dict(torch.load(tmp_path / "emas.pt", weights_only=True))
    train(second, net, range(6, 11))
    for (name, state), (other_name, other) in zip(whole, second, strict=True):
        assert name == other_name
        assert all(torch.equal(v, other[k]) for k, v in state.items())
    with pytest.raises(ValueError, match=r"ema_0\.5"):
        EMAs(0.95, warmup=True, extra_decays=[0.5]).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("key", "decay", "extra_decays"),
    [
        ("training.ema.decay", 1.0, []),
        ("training.ema.extra_decays", 0.9, [0.99, 1.0]),
        ("training.ema.extra_decays", 0.9, [-0.1]),
        ("training.ema.extra_decays", 0.9, [0.99, 0.99]),
        ("training.ema.extra_decays", 0.9, [0.9]),
    ],
)
def test_bad_decays_name_their_key(key: str, decay: float, extra_decays: list[float]) -> None:
    with pytest.raises(ConfigError) as e:
        EMAs(decay, warmup=True, extra_decays=extra_decays)
    assert e.value.key == key
