"""Schedules and whole sampling trajectories against diffusers: an implementation that shares no line with this one.

Both sides get the same network, x_T, noise and times. Where the two differ by convention, the comparison avoids it:
* diffusers keeps alpha_bar in float32: it is given our float64 table (which is compared with its own first).
* its DDIM steps to t - T // S: right for trailing only where S divides T, so S = 999 runs on the leading grid.
* its DDPM adds noise whenever t > 0, ours never in the step to the clean state: compared on linspace, whose last t is
  0, and for S = 1, where that step is the only one, on the leading grid.
* its linspace grid starts at t = 0 for S = 1, ours at T-1. Its leading grid has the stride T // S, ours T / S rounded
  down: the same where S divides T and at S = 999.
* its DPM-Solver++ casts states to float32: 1e-4 there. Its Heun takes float64 once its sigmas are: 1e-9, as for DDPM
  and DDIM (in float32, at S = 1, its own x / alpha - sigma / alpha eps loses more than 1e-4).
* clip_sample is off (it does not take eps anew after clipping, as clip_x0 does); the final alpha is 1.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import X0, Eps, Parameterization, V
from ablatent.samplers.base import Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.dpm_solver import DPMSolver
from ablatent.samplers.heun import Heun
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear

schedulers = pytest.importorskip("diffusers.schedulers")
STEPS = (1, 5, 10, 20, 50, pytest.param(250, marks=pytest.mark.slow), pytest.param(999, marks=pytest.mark.slow))
PARAMETERIZATIONS: dict[str, Parameterization] = {"epsilon": Eps(), "sample": X0(), "v_prediction": V()}


def schedule(name: str, T: int = 1000, zero: bool = False) -> tuple[NoiseSchedule, dict]:
    """Ours, and the arguments that make diffusers build the same."""
    if name == "squaredcos_cap_v2":
        return Cosine(T, 0.008, 0.999, zero), {"beta_schedule": name, "num_train_timesteps": T}
    start, end = (0.0001, 0.02) if name == "linear" else (0.0015, 0.0195)
    ours = (Linear if name == "linear" else ScaledLinear)(T, start, end, zero)
    return ours, {"beta_schedule": name, "beta_start": start, "beta_end": end, "num_train_timesteps": T}


class Contracting(nn.Module):
    """A fixed denoiser, nearly that of N(0, 0.5²), written in a parameterization; its steps shrink differences."""

    def __init__(self, s: NoiseSchedule, p: Parameterization):
        super().__init__()
        self.s, self.p = s, p

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = (v.reshape(-1, 1, 1, 1).to(x.dtype) for v in self.s.alpha_sigma(t))
        norm = 0.25 * alpha**2 + sigma**2
        eps = sigma / norm * x + 0.05 * alpha * torch.sin(3 * x)
        x0 = 0.25 * alpha / norm * x - 0.05 * sigma * torch.sin(3 * x)
        return self.p.target(x0, eps, alpha.flatten(), sigma.flatten())


def inputs(steps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(steps)
    x = torch.randn(2, 3, 4, 4, generator=gen, dtype=torch.float64)
    return x.to(dtype), torch.randn(steps, 2, 3, 4, 4, generator=gen, dtype=torch.float64).to(dtype)


def ours(sampler: Sampler, s: NoiseSchedule, p: Parameterization, x: Tensor, noise: Tensor) -> list[Tensor]:
    denoiser = Denoiser(Contracting(s, p), s, p)
    path = []

    def on_step(i: int, t: float, x_t: Tensor, prediction: object) -> Tensor:
        path.append(x_t)
        return x_t

    sampler(lambda x_t, t: denoiser(x_t, t, Cond()), s, x, lambda i: noise[i], on_step)
    return path


def close(path: list[Tensor], theirs: list[Tensor], rtol: float) -> None:
    """Every state of the path, relative to the largest element."""
    assert len(path) == len(theirs)
    for i, (a, b) in enumerate(zip(path, theirs, strict=True)):
        error = float((a - b).abs().max() / b.abs().max())
        assert error < rtol, f"step {i}: relative error {error:.2e}"


def float64_tables(scheduler: object, s: NoiseSchedule) -> None:
    one = torch.ones((), dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.one, scheduler.final_alpha_cumprod = s.alphas_cumprod, one, one


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("T", [50, 1000])
@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_alpha_bar(name: str, T: int, zero: bool) -> None:
    s, options = schedule(name, T, zero)
    theirs = schedulers.DDIMScheduler(**options, rescale_betas_zero_snr=zero).alphas_cumprod
    torch.testing.assert_close(s.alphas_cumprod, theirs.double(), rtol=0, atol=1e-6)


def test_float64_alpha_bar_of_cosine() -> None:
    """float32 hides the last times, where alpha_bar is 1e-9: the same formula evaluated in float64."""
    s, _ = schedule("squaredcos_cap_v2")
    f = np.cos((np.linspace(0, 1, 1001) + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(s.alphas_cumprod.numpy()[:-1], (f / f[0])[1:-1], rtol=1e-9)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", STEPS)
def test_ddim(steps: int, eta: float, kind: str, dtype: torch.dtype, rtol: float) -> None:
    s, options = schedule("scaled_linear")
    grid = "leading" if steps == 999 else "trailing"
    scheduler = schedulers.DDIMScheduler(
        **options, prediction_type=kind, clip_sample=False, set_alpha_to_one=True, timestep_spacing=grid
    )
    float64_tables(scheduler, s)
    scheduler.set_timesteps(steps)
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DDIM(steps=steps, grid=grid, eta=eta)
    assert scheduler.timesteps.tolist() == sampler.times(s)[:-1].tolist()
    x, noise = inputs(steps, dtype)
    theirs, y = [], x
    for i, t in enumerate(scheduler.timesteps):
        out = network(y, t.repeat(2), Cond())
        y = scheduler.step(out, t, y, eta=eta, variance_noise=noise[i] if eta else None).prev_sample.to(dtype)
        theirs.append(y)
    close(ours(sampler, s, p, x, noise), theirs, rtol)


@pytest.mark.parametrize("zero", [False, True])
def test_ddim_on_cosine_and_from_zero_snr(zero: bool) -> None:
    s, options = schedule("squaredcos_cap_v2", zero=zero)
    scheduler = schedulers.DDIMScheduler(
        **options, prediction_type="v_prediction", clip_sample=False, timestep_spacing="trailing"
    )
    float64_tables(scheduler, s)
    scheduler.set_timesteps(50)
    network = Contracting(s, V())
    x, noise = inputs(50, torch.float64)
    theirs, y = [], x
    for t in scheduler.timesteps:
        y = scheduler.step(network(y, t.repeat(2), Cond()), t, y).prev_sample
        theirs.append(y)
    close(ours(DDIM(steps=50), s, V(), x, noise), theirs, 1e-9)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize(("variance", "name"), [("beta", "fixed_large"), ("beta_tilde", "fixed_small")])
@pytest.mark.parametrize("steps", STEPS)
def test_ddpm(
    steps: int, variance: str, name: str, kind: str, dtype: torch.dtype, rtol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, options = schedule("linear")
    grid = "leading" if steps == 1 else "linspace"
    scheduler = schedulers.DDPMScheduler(
        **options, prediction_type=kind, clip_sample=False, variance_type=name, timestep_spacing=grid
    )
    float64_tables(scheduler, s)
    scheduler.set_timesteps(steps)
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DDPM(steps=steps, grid=grid, variance=variance)
    assert scheduler.timesteps.tolist() == sampler.times(s)[:-1].tolist()
    x, noise = inputs(steps, dtype)
    theirs, y = [], x
    for i, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, n=noise[i], **k: n)
        y = scheduler.step(network(y, t.repeat(2), Cond()), int(t), y).prev_sample.to(dtype)
        theirs.append(y)
    close(ours(sampler, s, p, x, noise), theirs, rtol)


@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("steps", STEPS)
def test_dpm_solver(steps: int, kind: str) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DPMSolverMultistepScheduler(
        **options, prediction_type=kind, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )
    scheduler.alphas_cumprod = s.alphas_cumprod
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DPMSolver(steps=steps)
    scheduler.set_timesteps(timesteps=sampler.times(s)[:-1].astype(int).tolist())
    x, noise = inputs(steps, torch.float32)
    theirs, y = [], x
    for t in scheduler.timesteps:
        y = scheduler.step(network(y, t.repeat(2), Cond()), t, y).prev_sample
        theirs.append(y)
    close(ours(sampler, s, p, x, noise), theirs, 1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", STEPS)
def test_heun(steps: int, kind: str) -> None:
    """diffusers' state is x / alpha."""
    s, options = schedule("scaled_linear")
    scheduler = schedulers.HeunDiscreteScheduler(**options, prediction_type=kind)
    scheduler.alphas_cumprod = s.alphas_cumprod
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), Heun(steps=steps)
    times = sampler.times(s)
    scheduler.set_timesteps(timesteps=times[:-1].astype(int).tolist())
    assert len(scheduler.timesteps) == sampler.nfe()
    alphas, sigmas = s.alpha_sigma(torch.from_numpy(times))
    ratio = sigmas / alphas
    scheduler.sigmas = torch.cat([ratio[:1], ratio[1:-1].repeat_interleave(2), ratio[-1:]])
    x, noise = inputs(steps, torch.float64)
    y = x / alphas[0]
    theirs, i = [], 0
    for call, t in enumerate(scheduler.timesteps):
        y = scheduler.step(network(scheduler.scale_model_input(y, t), t.repeat(2), Cond()), t, y).prev_sample
        if call % 2 or i == steps - 1:
            i += 1
            theirs.append(y * alphas[i])
    close(ours(sampler, s, p, x, noise), theirs, 1e-9)
