"""Samplers without a network: on Gaussian data x_0 ~ N(m, c²) the exact denoiser, its ODE's solution and the moments
of every discrete chain are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.dpm_solver import DPMSolver
from ablatent.samplers.grids import GRIDS, time_grid
from ablatent.samplers.heun import Heun
from ablatent.schedules.base import CLEAN, NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.linear import Linear

MEAN, STD = 0.7, 0.5
SPREAD = [1, 2, 7, 48, 501, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 333, 999, 1000))]
SAMPLERS = {
    "ddpm": DDPM(steps=5),
    "ddpm_beta": DDPM(steps=5, variance="beta"),
    "ddim": DDIM(steps=5),
    "ddim_1": DDIM(steps=5, eta=1.0),
    "heun": Heun(steps=5),
    "dpm_solver": DPMSolver(steps=5),
}


def linear(T: int = 1000, zero: bool = False) -> NoiseSchedule:
    return Linear(T, 0.0001, 0.02, zero)


def exact(s: NoiseSchedule) -> DenoiseFn:
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(MEAN, STD²)."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in s.alpha_sigma(t))
        norm = alpha**2 * STD**2 + sigma**2
        away = x - alpha * MEAN
        return Prediction(x0=MEAN + alpha * STD**2 / norm * away, eps=sigma / norm * away)

    return denoise


def no_noise(i: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def noises(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=gen, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- time grids


@pytest.mark.parametrize("T", [1, 7, 100, 1000])
@pytest.mark.parametrize("grid", list(GRIDS))
def test_every_number_of_steps_is_exact(grid: str, T: int) -> None:
    for steps in range(1, T + 1):
        times = time_grid(grid, T, steps)
        assert times.dtype == np.float64 and len(times) == steps + 1
        assert times[-1] == CLEAN and (np.diff(times) < 0).all()
        assert times[-2] >= 0 and times[0] <= T - 1 and (times == np.round(times)).all()
        if grid != "leading":
            assert times[0] == T - 1
        if grid != "trailing" and steps > 1:
            assert times[-2] == 0


def test_grids_by_hand() -> None:
    assert time_grid("trailing", 1000, 4).tolist() == [999, 749, 499, 249, -1]
    assert time_grid("leading", 1000, 4).tolist() == [750, 500, 250, 0, -1]
    assert time_grid("linspace", 1000, 4).tolist() == [999, 666, 333, 0, -1]
    assert time_grid("trailing", 1000, 4, start=0.8).tolist() == [799, 599, 399, 199, -1]


@pytest.mark.parametrize("grid", list(GRIDS))
def test_start_leaves_out_the_noisiest_times(grid: str) -> None:
    for steps in (1, 3, 599, 600):
        times = time_grid(grid, 1000, steps, start=0.6)
        assert len(times) == steps + 1 and times[0] <= 599
    with pytest.raises(ConfigError, match="1 to 600"):
        time_grid(grid, 1000, 601, start=0.6)


# ------------------------------------------------------------------------------------------ what every sampler does


@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize("steps", SPREAD)
@pytest.mark.parametrize("kind", [DDPM, DDIM, Heun, DPMSolver])
def test_steps_and_calls_are_those_declared(kind: type[Sampler], steps: int, grid: str) -> None:
    s, sampler = linear(), kind(steps=steps, grid=grid)
    calls, seen = [], []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        calls.append(t.tolist())
        return exact(s)(x, t)

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        seen.append((i, t))
        return x

    x = sampler(denoise, s, noises(1, (2, 1, 1, 1))[0], lambda i: torch.zeros(2, 1, 1, 1), on_step)
    assert [i for i, _ in seen] == list(range(steps))
    assert [t for _, t in seen] == sampler.times(s)[1:].tolist()
    assert len(calls) == sampler.nfe() and sampler.nfe(10) == (19 if kind is Heun else 10)
    assert all(len(set(t)) == 1 and len(t) == 2 and t[0] >= 0 for t in calls)
    assert bool(torch.isfinite(x).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_dtype_is_kept_and_float32_is_near_float64(name: str, dtype: torch.dtype) -> None:
    s, sampler = linear(), SAMPLERS[name]
    x, z = noises(1, (3, 1, 2, 2))[0], noises(5, (3, 1, 2, 2), 1)
    result = sampler(exact(s), s, x.to(dtype), lambda i: z[i])
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), sampler(exact(s), s, x, lambda i: z[i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_samples_do_not_depend_on_the_batch(name: str) -> None:
    s, sampler = Cosine(1000, 0.008, 0.999, False), SAMPLERS[name]
    x, z = noises(1, (4, 1, 2, 2))[0], noises(5, (4, 1, 2, 2), 1)
    together = sampler(exact(s), s, x, lambda i: z[i])
    for k in range(4):
        alone = sampler(exact(s), s, x[k : k + 1], lambda i, k=k: z[i, k : k + 1])
        torch.testing.assert_close(alone, together[k : k + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "heun"])
def test_from_zero_snr_everything_is_finite(name: str, steps: int) -> None:
    s = linear(zero=True)
    sampler = type(SAMPLERS[name])(**{**vars(SAMPLERS[name]), "steps": steps})
    x = sampler(exact(s), s, noises(1, (2, 1, 2, 2))[0], lambda i: noises(1, (2, 1, 2, 2), i)[0])
    assert bool(torch.isfinite(x).all())
    if steps == 1:  # nothing is known at zero SNR: one step can only give the mean
        torch.testing.assert_close(x, torch.full_like(x, MEAN))


def test_on_step_replaces_the_state() -> None:
    s = linear()

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        assert t[0] == 999 or bool((x == 3).all())
        return exact(s)(x, t)

    x = DDIM(steps=4)(denoise, s, torch.randn(1, 1, 1, 1), no_noise, lambda i, t, x, p: torch.full_like(x, 3.0))
    assert x.item() == 3


def test_clip_x0_clips_and_keeps_eps_consistent() -> None:
    s = linear()
    x = noises(1, (8, 1, 4, 4))[0] * 3
    clean, predictions = None, []

    def on_step(i: int, t: float, x_t: Tensor, p: Prediction) -> Tensor:
        predictions.append(p)
        return x_t

    clean = DDIM(steps=4, clip_x0=0.6)(exact(s), s, x, no_noise, on_step)
    assert float(clean.abs().max()) == 0.6
    first = predictions[0]
    t = torch.full((8,), 999)
    torch.testing.assert_close(s.q_sample(first.x0, t, first.eps), x, rtol=1e-12, atol=1e-12)
    assert float(DDIM(steps=4)(exact(s), s, x, no_noise).abs().max()) > 0.6


# ---------------------------------------------------------------------------------------------- order of convergence


def error(sampler: Sampler, s: NoiseSchedule, times: np.ndarray | None = None) -> float:
    """Distance to the exact solution of the probability flow ODE: (x - alpha m) / sqrt(alpha² c² + sigma²) is
    constant."""
    visited = sampler.times(s) if times is None else times
    (a0, a1), (s0, s1) = (v.tolist() for v in s.alpha_sigma(torch.tensor([visited[0], visited[-1]])))
    x = torch.tensor([-1.5, -0.3, 0.4, 2.0], dtype=torch.float64).reshape(4, 1, 1, 1)
    scale = math.sqrt((a1**2 * STD**2 + s1**2) / (a0**2 * STD**2 + s0**2))
    wanted = a1 * MEAN + scale * (x - a0 * MEAN)
    return float((sampler(exact(s), s, x, no_noise, times=times) - wanted).abs().max())


def slope(steps: list[int], errors: list[float]) -> float:
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize(("kind", "least", "most"), [(DDIM, 0.8, 1.3), (Heun, 1.7, 2.6), (DPMSolver, 1.7, 2.6)])
def test_measured_order_is_the_declared_one(kind: type[Sampler], least: float, most: float) -> None:
    """Inside the schedule, t from 900 to 100, at real times that are smooth in the step's number."""
    s, steps = Cosine(1000, 0.008, 0.999, False), [20, 40, 80, 160]
    errors = [error(kind(steps=n), s, np.linspace(900, 100, n + 1)) for n in steps]
    assert least < slope(steps, errors) < most, errors
    assert round(slope(steps, errors)) == kind.order


def test_ddim_converges_over_the_whole_grid() -> None:
    steps = [25, 50, 100, 200, 500]
    errors = [error(DDIM(steps=n), linear()) for n in steps]
    assert 0.8 < slope(steps, errors) < 1.3, errors
    assert errors[-1] < 0.01


def test_ddim_is_euler_in_sigma_over_alpha() -> None:
    s, sampler = linear(), DDIM(steps=13)
    x = noises(1, (4, 1, 1, 1))[0]
    alpha, sigma = s.alpha_sigma(torch.from_numpy(sampler.times(s)))
    y, k = x / alpha[0], sigma / alpha
    for i, t in enumerate(sampler.times(s)[:-1]):
        y = y + (k[i + 1] - k[i]) * exact(s)(alpha[i] * y, torch.full((4,), t)).eps
    torch.testing.assert_close(sampler(exact(s), s, x, no_noise), y, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------ stochastic samplers


@pytest.mark.parametrize("steps", [1, 2, 10, 37, 300])
@pytest.mark.parametrize("grid", list(GRIDS))
def test_ddim_with_eta_1_is_ddpm_with_beta_tilde(grid: str, steps: int) -> None:
    s = linear()
    x, z = noises(1, (3, 1, 2, 2))[0], noises(steps, (3, 1, 2, 2), 1)
    a = DDIM(steps=steps, grid=grid, eta=1.0)(exact(s), s, x, lambda i: z[i])
    b = DDPM(steps=steps, grid=grid, variance="beta_tilde")(exact(s), s, x, lambda i: z[i])
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_ddpm_over_all_times_is_ho_et_al(variance: str) -> None:
    """Algorithm 2 written with the published betas, one time after the other."""
    s = linear(T=60)
    x, z = noises(1, (3, 1, 2, 2))[0], noises(60, (3, 1, 2, 2), 1)
    y, beta, ab = x, s.betas, s.alphas_cumprod
    for i, t in enumerate(range(59, -1, -1)):
        eps = exact(s)(y, torch.full((3,), t)).eps
        y = (y - beta[t] / (1 - ab[t]).sqrt() * eps) / (1 - beta[t]).sqrt()
        if t > 0:
            y = y + z[i] * (beta[t] if variance == "beta" else beta[t] * (1 - ab[t - 1]) / (1 - ab[t])).sqrt()
    torch.testing.assert_close(DDPM(steps=60, variance=variance)(exact(s), s, x, lambda i: z[i]), y)


def propagated(s: NoiseSchedule, times: np.ndarray, variance: str) -> tuple[float, float]:
    """Mean and variance of the chain's last state, from x_T ~ N(0, 1): the posterior of Ho et al. (eq. 7) with the
    exact E[x_0 | x_t], which is linear in x_t."""
    alpha, sigma = (v.tolist() for v in s.alpha_sigma(torch.from_numpy(times)))
    mean, var = 0.0, 1.0
    for i in range(len(times) - 1):
        a, b, sa, sb = alpha[i], alpha[i + 1], sigma[i], sigma[i + 1]
        beta = 1 - a**2 / b**2
        gain = a * STD**2 / (a**2 * STD**2 + sa**2)
        from_x, from_x0 = a / b * sb**2 / sa**2, b * beta / sa**2
        factor, shift = from_x + from_x0 * gain, from_x0 * MEAN * (1 - gain * a)
        mean, var = factor * mean + shift, factor**2 * var
        if sb > 0:
            var += beta if variance == "beta" else beta * sb**2 / sa**2
    return mean, var


@pytest.mark.parametrize(
    ("sampler", "variance"),
    [
        (DDPM(steps=20, variance="beta"), "beta"),
        (DDPM(steps=20, variance="beta_tilde"), "beta_tilde"),
        (DDPM(steps=7, grid="linspace", variance="beta"), "beta"),
        (DDIM(steps=20, eta=1.0), "beta_tilde"),
    ],
)
def test_moments_are_those_of_the_propagated_chain(sampler: Sampler, variance: str) -> None:
    s, n = linear(), 200_000
    mean, var = propagated(s, sampler.times(s), variance)
    shape = (n // 100, 1, 10, 10)
    x = sampler(exact(s), s, noises(1, shape, 99)[0], lambda i: noises(1, shape, 100 + i)[0])
    assert x.mean().item() == pytest.approx(mean, abs=4.5 * math.sqrt(var / n))  # 4.5 standard errors
    assert x.var().item() == pytest.approx(var, rel=4.5 * math.sqrt(2 / n))


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_the_full_chain_reaches_the_data(variance: str) -> None:
    s = linear()
    mean, var = propagated(s, DDPM(steps=1000).times(s), variance)
    assert mean == pytest.approx(MEAN, rel=0.01) and math.sqrt(var) == pytest.approx(STD, rel=0.02)


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: DDIM(steps=0), "sampler.steps"),
        (lambda: DDPM(steps=-1), "sampler.steps"),
        (lambda: DDIM(steps=True), "sampler.steps"),
        (lambda: DDIM(steps=1001).check(linear()), "sampler.steps"),
        (lambda: DDIM(steps=600, start=0.5).check(linear()), "sampler.steps"),
        (lambda: DDIM(steps=10, grid="trailin"), "sampler.grid"),
        (lambda: DDIM(steps=10, start=0.0), "sampler.start"),
        (lambda: DDIM(steps=10, clip_x0=0.0), "sampler.clip_x0"),
        (lambda: DDIM(steps=10, eta=1.1), "sampler.eta"),
        (lambda: DDPM(steps=10, variance="beta_tile"), "sampler.variance"),
        (lambda: Heun(steps=10).check(linear(zero=True)), "sampler"),
    ],
)
def test_bad_knobs_name_their_key(build, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.key == key


def test_heun_starts_below_zero_snr() -> None:
    Heun(steps=10, start=0.99).check(linear(zero=True))
    Heun(steps=10).check(linear())


def test_low_precision_states_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        DDIM(steps=2)(exact(linear()), linear(), torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16), no_noise)
