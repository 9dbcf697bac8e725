"""Guidance: identities that hold for any denoiser."""

import pytest
import torch
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond, Prediction
from ablatent.samplers.guidance import ClassifierFree, NoGuidance
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.linear import Linear


def schedule() -> NoiseSchedule:
    return Linear(1000, 0.0001, 0.02, False)


class Counting(nn.Module):
    """A denoiser whose answer depends on the condition, row by row, and that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Prediction:
        self.calls.append(len(x))
        assert cond.vector is not None and len(cond.vector) == len(t) == len(x)
        alpha, sigma = (v.reshape(-1, 1, 1, 1).to(x.dtype) for v in schedule().alpha_sigma(t))
        x0 = torch.tanh(x + cond.vector.sum(dim=1).reshape(-1, 1, 1, 1))
        return Prediction(x0, (x - alpha * x0) / sigma)


def inputs() -> tuple[Tensor, Tensor, Cond, Cond]:
    gen = torch.Generator().manual_seed(3)
    x = torch.randn(4, 2, 3, 3, generator=gen, dtype=torch.float64)
    cond = torch.randn(4, 5, generator=gen, dtype=torch.float64)
    return x, torch.full((4,), 500.0, dtype=torch.float64), Cond(vector=cond), Cond(vector=torch.zeros_like(cond))


def test_scale_1_is_no_guidance_to_the_bit() -> None:
    x, t, cond, null = inputs()
    plain, guided = Counting(), Counting()
    a = NoGuidance()(plain, cond, null)(x, t)
    b = ClassifierFree(scale=1.0)(guided, cond, None)(x, t)
    assert torch.equal(a.x0, b.x0) and torch.equal(a.eps, b.eps)
    assert plain.calls == guided.calls == [4]


def test_scale_0_is_unconditional() -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    a = ClassifierFree(scale=0.0)(denoiser, cond, null)(x, t)
    assert denoiser.calls == [4]
    assert torch.equal(a.x0, denoiser(x, t, null).x0)


@pytest.mark.parametrize("scale", [0.3, 1.5, 7.5])
def test_one_batched_call_equals_two(scale: float) -> None:
    x, t, cond, null = inputs()
    denoiser = Counting()
    guided = ClassifierFree(scale=scale)(denoiser, cond, null)(x, t)
    assert denoiser.calls == [8]
    c, u = denoiser(x, t, cond), denoiser(x, t, null)
    eps = u.eps + scale * (c.eps - u.eps)
    alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in schedule().alpha_sigma(t))
    torch.testing.assert_close(guided.eps, eps, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(guided.x0, (x - sigma * eps) / alpha, rtol=1e-9, atol=1e-9)


def test_interval_guides_inside_only() -> None:
    x, t, cond, null = inputs()
    t = torch.tensor([0.0, 300.0, 600.0, 999.0], dtype=torch.float64)
    denoiser = Counting()
    limited = ClassifierFree(scale=3.0, interval=[300.0, 600.0])(denoiser, cond, null)
    everywhere = ClassifierFree(scale=3.0)(denoiser, cond, null)(x, t)
    got, plain = limited(x, t), denoiser(x, t, cond)
    torch.testing.assert_close(got.x0[1:3], everywhere.x0[1:3])
    torch.testing.assert_close(got.x0[[0, 3]], plain.x0[[0, 3]])
    denoiser.calls.clear()
    limited(x, torch.full_like(t, 900.0))
    assert denoiser.calls == [4]  # outside, the second half of the batch is saved


def test_needs_null_and_cost() -> None:
    assert not NoGuidance().needs_null and not ClassifierFree(scale=1.0).needs_null
    assert ClassifierFree(scale=0.0).needs_null and ClassifierFree(scale=2.0).needs_null
    assert [ClassifierFree(scale=v).network_rows() for v in (0.0, 1.0, 2.0)] == [1, 1, 2]
    assert NoGuidance().network_rows() == 1


def test_refusals() -> None:
    _, _, cond, _ = inputs()
    for build, key in (
        (lambda: ClassifierFree(scale=-1.0), "guidance.scale"),
        (lambda: ClassifierFree(scale=float("nan")), "guidance.scale"),
        (lambda: ClassifierFree(scale=2.0, interval=[5.0]), "guidance.interval"),
        (lambda: ClassifierFree(scale=2.0, interval=[5.0, 1.0]), "guidance.interval"),
        (lambda: ClassifierFree(scale=2.0)(Counting(), cond, None), "guidance"),
    ):
        with pytest.raises(ConfigError) as error:
            build()
        assert error.value.key == key
