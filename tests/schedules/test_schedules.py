"""Noise schedules against their formulas; against diffusers: tests/samplers/test_against_diffusers.py."""

import math

import numpy as np
import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.schedules.base import is_real
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.custom import Custom
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.schedules.edm import EDM
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear
from ablatent.schedules.sigmoid import Sigmoid


def make(name: str, T: int = 1000, zero: bool = False) -> DiscreteSchedule:
    if name == "linear":
        return Linear(T, 0.0001, 0.02, zero)
    if name == "scaled_linear":
        return ScaledLinear(T, 0.0015, 0.0195, zero)
    if name == "sigmoid":
        return Sigmoid(T, 0.0001, 0.02, 6.0, zero)
    if name == "custom":
        return Custom([0.002 + 0.01 * k / T for k in range(T)], zero)
    return Cosine(T, 0.008, 0.999, zero)


FAMILIES = ("linear", "scaled_linear", "cosine", "sigmoid", "custom")
every = pytest.mark.parametrize("name", FAMILIES)
both = pytest.mark.parametrize("zero", [False, True])


@pytest.mark.parametrize(("name", "root"), [("linear", 0.0064), ("scaled_linear", 0.0119), ("cosine", 4.9e-5)])
def test_signal_left_at_T_is_the_published_one(name: str, root: float) -> None:
    assert math.sqrt(make(name).alphas_cumprod[-1]) == pytest.approx(root, rel=0.01)


@every
def test_zero_terminal_snr_keeps_the_first_level(name: str) -> None:
    plain, zero = make(name), make(name, zero=True)
    assert float(zero.alphas_cumprod[0]) == pytest.approx(float(plain.alphas_cumprod[0]), abs=1e-14)
    assert float(zero.betas[-1]) == 1.0


def test_q_sample_has_the_variance_it_says() -> None:
    s = make("scaled_linear", zero=True)
    gen = torch.Generator().manual_seed(0)
    x0 = torch.full((1, 1, 200, 200), 2.0)
    eps = torch.randn(1, 1, 200, 200, generator=gen)
    x = s.q_sample(x0, torch.tensor([999]), eps)
    assert torch.equal(x, eps)
    x = s.q_sample(x0, torch.tensor([300]), eps)
    ab = s.alphas_cumprod[300].item()
    assert x.mean().item() == pytest.approx(2 * ab**0.5, abs=5 * ((1 - ab) / 40000) ** 0.5)
    assert x.var().item() == pytest.approx(1 - ab, rel=0.05)


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: Linear(0, 1e-4, 0.02, False), "schedule.T"),
        (lambda: Linear(True, 1e-4, 0.02, False), "schedule.T"),
        (lambda: Linear(1, 1e-4, 0.02, True), "schedule.T"),
        (lambda: Linear(10, 0.0, 0.02, False), "schedule.beta_start"),
        (lambda: ScaledLinear(10, 0.1, 0.02, False), "schedule.beta_end"),
        (lambda: Cosine(10, -1.0, 0.999, False), "schedule.s"),
        (lambda: Cosine(10, 0.008, 1.0, False), "schedule.max_beta"),
        (lambda: Sigmoid(10, 1e-4, 0.02, 0.0, False), "schedule.width"),
        (lambda: Custom([], False), "schedule.betas"),
        (lambda: Custom([0.1, 1.0], False), "schedule.betas"),
        (lambda: DiscreteSchedule(np.array([0.1, 1.5])), "schedule"),
    ],
)
def test_bad_options_name_their_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key


def test_the_snr_at_the_end_of_edm() -> None:
    assert EDM(1000, 0.002, 80.0).terminal_snr == pytest.approx(80.0**-2, rel=1e-9)


@pytest.mark.parametrize("sigma_min", [0, -1.0, True, math.nan])
def test_noise_that_edm_cannot_begin_with(sigma_min: object) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.sigma_min"):
        EDM(1000, sigma_min, 80.0)  # type: ignore[arg-type]


def test_true_and_false_are_no_numbers() -> None:
    assert is_real(1) and is_real(0.5)
    assert not any(is_real(value) for value in (True, False, math.inf, math.nan, "1", None))
