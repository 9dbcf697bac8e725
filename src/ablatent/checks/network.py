"""What every denoising network does: starts at zero, reads time and condition, keeps rows apart, learns."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, expect_near, expect_refused, invariant
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond

T2 = torch.tensor([3.0, 700.5])
NO_COND: dict[str, Any] = {"context_dim": None, "vector_dim": None, "spatial_channels": 0}
ALL_COND: dict[str, Any] = {"context_dim": 6, "vector_dim": 5, "spatial_channels": 1}
PARTS = {"vector": "vector_dim", "tokens": "context_dim", "spatial": "spatial_channels"}
"""Part of a condition → the argument of a network that takes it."""
N = TypeVar("N", bound=nn.Module)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """N(0, 1) in float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(net: N) -> N:
    """The network in evaluation mode, with weights in its layers of zeros, which hide what comes before them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return net.eval()


def built(option: Option, seed: int = 0, **changes: Any) -> nn.Module:
    """The network of 4 channels with fresh weights, without a condition. changes: of any argument."""
    torch.manual_seed(seed)
    shapes = {"in_channels": 4, "out_channels": 4, **NO_COND}
    given = {name: changes.pop(name, value) for name, value in shapes.items()}
    made: nn.Module = option.make(nn.Module, given, **changes)
    return made


def parts(b: int = 2, size: tuple[int, int] = (8, 8)) -> dict[str, Tensor]:
    """The parts of a condition for ALL_COND."""
    return {"vector": noise(b, 5, seed=1), "tokens": noise(b, 3, 6, seed=2), "spatial": noise(b, 1, *size, seed=3)}


def taken(option: Option) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(arguments, parts) of all of a condition that the network takes; it refuses the others by a ConfigError."""
    arguments, given = dict(NO_COND), {}
    for part, name in PARTS.items():
        try:
            built(option, **{name: ALL_COND[name]})
        except ConfigError:
            continue
        arguments[name], given[part] = ALL_COND[name], parts()[part]
    return arguments, given


@invariant
def gives_a_map_of_any_size(option: Option) -> None:
    """The answer has the size of the input, also a larger one that is not square, and the channels it is built for."""
    net = filled(built(option, out_channels=8))
    with torch.no_grad():
        for size in ((8, 8), (16, 24)):
            out = net(noise(2, 4, *size), T2, Cond())
            expect(out.shape == (2, 8, *size), f"the shape {(2, 8, *size)}", tuple(out.shape))
            expect(torch.isfinite(out).all(), "finite numbers", "others")


@invariant
def starts_at_zero(option: Option) -> None:
    """A fresh network answers with zeros; once its last layer has weights, every parameter has a gradient."""
    arguments, given = taken(option)
    for channels in (4, 8):
        net = built(option, out_channels=channels, **arguments)
        out = net(noise(2, 4, 8, 8), T2, Cond(**given))
        expect(out.shape == (2, channels, 8, 8), f"the shape {(2, channels, 8, 8)}", tuple(out.shape))
        expect(
            not out.any(), "zeros from fresh weights: a last layer that starts at zero", float(out.detach().abs().max())
        )
        filled(net)(noise(2, 4, 8, 8), T2, Cond(**given)).square().mean().backward()
        none = [n for n, p in net.named_parameters() if p.grad is None]
        # Some biases cancel, before a norm and in the keys of attention: their gradient is zero up to rounding.
        zero = [
            n for n, p in net.named_parameters() if p.grad is not None and n.endswith("weight") and not p.grad.any()
        ]
        expect(not none and not zero, "a gradient of every parameter", f"none of {', '.join([*none, *zero])}")


@invariant
def reads_its_condition(option: Option) -> None:
    """Each part of the condition that it takes changes the answer."""
    arguments, given = taken(option)
    net, x = filled(built(option, **arguments)), noise(2, 4, 8, 8)
    with torch.no_grad():
        for part, value in given.items():
            apart = net(x, T2, Cond(**given)) - net(x, T2, Cond(**{**given, part: value + 1}))
            expect(apart.abs().max() > 1e-3, f"another answer for other values of `{part}`", float(apart.abs().max()))


@invariant
def reads_the_time(option: Option) -> None:
    """The time changes the answer, also between whole numbers; float64 times are those of float32."""
    net, x = filled(built(option)), noise(2, 4, 8, 8)
    with torch.no_grad():
        out = net(x, T2, Cond())
        apart = float((out - net(x, T2 + 0.25, Cond())).abs().max())
        expect(apart > 1e-4, "another answer a quarter of a step later", apart)
        expect_near(net(x, T2.double(), Cond()), out, "the answer of float32 times", rtol=1e-3, atol=1e-3)


@invariant
def keeps_rows_apart(option: Option) -> None:
    """A row alone has the answer that it has in a batch."""
    arguments, given = taken(option)
    net, x, cond = filled(built(option, **arguments)), noise(2, 4, 8, 8), Cond(**given)
    with torch.no_grad():
        both, alone = net(x, T2, cond), net(x[1:], T2[1:], cond.rows(slice(1, None)))
    expect_near(both[1:], alone, "the answer of a row alone", rtol=1e-4, atol=1e-5)


@invariant
def tells_places_apart(option: Option) -> None:
    """A map of one value everywhere does not come out so: it knows where it is, in rows and in columns."""
    net = filled(built(option))
    with torch.no_grad():
        out = net(torch.ones(1, 4, 16, 16), T2[:1], Cond())[..., ::4, ::4]  # the same place in each patch
    for dim, name in ((2, "rows"), (3, "columns")):
        spread = float(out.std(dim=dim).max())
        expect(spread > 1e-4, f"other values in other {name}", f"a deviation of {spread:.2g}")


@invariant
def ignores_masked_tokens(option: Option) -> None:
    """Tokens outside the mask change nothing, where it reads tokens."""
    arguments, given = taken(option)
    if "tokens" not in given:
        return
    net, x, tokens = filled(built(option, context_dim=arguments["context_dim"])), noise(2, 4, 8, 8), given["tokens"]
    padded = torch.cat([tokens, 10 * noise(2, 2, 6, seed=5)], dim=1)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    with torch.no_grad():
        plain = net(x, T2, Cond(tokens=tokens))
        expect_near(net(x, T2, Cond(tokens=padded, mask=mask)), plain, "what no padding gives", rtol=1e-5, atol=1e-5)
        apart = float((net(x, T2, Cond(tokens=padded)) - plain).abs().max())
        expect(apart > 1e-3, "another answer without the mask", apart)


@invariant
def learns_one_batch(option: Option) -> None:
    """30 steps of Adam on one batch bring the loss below 0.3 of its start."""
    net, x, target = built(option), noise(2, 4, 8, 8), noise(2, 4, 8, 8, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(30):
        loss = (net(x, T2, Cond()) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    expect(losses[-1] < 0.3 * losses[0], f"a loss below {0.3 * losses[0]:.3g}", f"{losses[-1]:.3g}")


@invariant
def refuses_sizes_of_zero(option: Option) -> None:
    """Each whole number of its node is refused at 0, by an error that names its key."""
    sizes: Mapping[str, Any] = option.arguments()
    for key, value in sizes.items():
        if isinstance(value, int) and not isinstance(value, bool):
            expect_refused(partial(built, option, **{key: 0}), f"{option.key}.{key}", "that 0 is refused")
