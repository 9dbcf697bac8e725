"""Noise schedules against their formulas; against diffusers: tests/samplers/test_against_diffusers.py."""

import copy
import math

import numpy as np
import pytest
import torch

from ablatent.core.errors import ConfigError
from ablatent.schedules.base import CLEAN, NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.custom import Custom
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear
from ablatent.schedules.sigmoid import Sigmoid


def make(name: str, T: int = 1000, zero: bool = False) -> NoiseSchedule:
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


@pytest.mark.parametrize("T", [2, 10, 250, 1000, 4000])
@every
@both
def test_alpha_bar_descends_from_near_1(name: str, T: int, zero: bool) -> None:
    s = make(name, T, zero)
    ab = torch.cat([torch.ones(1, dtype=torch.float64), s.alphas_cumprod])
    assert s.T == T == len(s.betas) == len(s.alphas_cumprod)
    assert bool((ab.diff() < 0).all()) and ab[-1] >= 0
    torch.testing.assert_close(torch.cumprod(1 - s.betas, 0), s.alphas_cumprod, rtol=1e-9, atol=1e-15)
    assert (ab[-1] == 0) == zero and (s.terminal_snr == 0) == zero


@every
def test_zero_terminal_snr_keeps_the_first_level(name: str) -> None:
    plain, zero = make(name), make(name, zero=True)
    assert float(zero.alphas_cumprod[0]) == pytest.approx(float(plain.alphas_cumprod[0]), abs=1e-14)
    assert float(zero.betas[-1]) == 1.0


@every
@both
def test_integer_times_are_exact_and_clean_is_clean(name: str, zero: bool) -> None:
    s = make(name, zero=zero)
    for t in (torch.arange(1000), torch.arange(1000).to(torch.float32), torch.arange(1000).double()):
        alpha, sigma = s.alpha_sigma(t)
        ab = s.alphas_cumprod.numpy()
        assert np.array_equal(alpha.numpy(), np.sqrt(ab)) and np.array_equal(sigma.numpy(), np.sqrt(1 - ab))
    alpha, sigma = s.alpha_sigma(torch.tensor([CLEAN]))
    assert alpha.item() == 1 and sigma.item() == 0
    assert alpha.dtype == torch.float64


@every
@both
def test_real_times_lie_between_and_invert(name: str, zero: bool) -> None:
    s = make(name, zero=zero)
    t = torch.linspace(-1, 999, 7777, dtype=torch.float64)
    alpha, sigma = s.alpha_sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)
    log_snr = s.log_snr(t)
    assert bool((log_snr.diff() < 0).all())
    # log-SNR is so flat in float64 near the ends that 1e-6 of a step is what a round trip can give
    torch.testing.assert_close(s.t_of_log_snr(log_snr), t, rtol=0, atol=1e-6)
    assert s.t_of_log_snr(torch.tensor([math.inf, -math.inf, -1e4])).tolist() == [-1.0, 999.0, 999.0]


@pytest.mark.parametrize("t", [-1.5, -2, 999.5, 1000])
def test_times_outside_are_an_error(t: float) -> None:
    with pytest.raises(IndexError):
        make("linear").alpha_sigma(torch.tensor([t]))


def test_tables_survive_casts_copies_and_the_meta_device() -> None:
    s = make("cosine")
    expected = s.alphas_cumprod.clone()
    for other in (s.half(), copy.deepcopy(s).float(), s.to(torch.bfloat16), torch.nn.Sequential(s).float()[0]):
        assert other.alphas_cumprod.dtype == torch.float64 and torch.equal(other.alphas_cumprod, expected)
        assert other.alpha_sigma(torch.tensor([3]))[0].dtype == torch.float64
    with torch.device("meta"):
        meta = make("cosine")
    assert meta.alphas_cumprod.is_meta and torch.equal(meta.to_empty(device="cpu").alphas_cumprod, expected)
    assert not s.state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_q_sample_and_its_dtype(dtype: torch.dtype) -> None:
    s = make("linear")
    x0, eps = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64).to(dtype)
    t = torch.tensor([0, 500, 999])
    x = s.q_sample(x0, t, eps)
    ab = s.alphas_cumprod[t].reshape(3, 1, 1, 1)
    assert x.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        x.double(), ab.sqrt() * x0.double() + (1 - ab).sqrt() * eps.double(), rtol=1e-6, atol=1e-6
    )


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
        (lambda: NoiseSchedule(np.array([0.1, 1.5])), "schedule"),
    ],
)
def test_bad_options_name_their_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key
