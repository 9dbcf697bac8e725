"""Schedules and whole sampling trajectories against diffusers: an implementation that shares no line with this one.

Both sides get the same network, x_T, noise and times. Where the two differ by convention, the comparison avoids it
(docs/samplers.md has the list for users):
* diffusers keeps alpha_bar and sigmas in float32: it is given our float64 table (which is compared with its own first).
* the final alpha is 1 on both sides (`set_alpha_to_one=True`, `final_sigmas_type="zero"`); the reference code's is that
  of t = 0. UniPC's "sigma_min" is compared too: it is our grid without the clean state.
* its DDIM and PNDM step to t - T // S: right for trailing only where S divides T, so S = 999 runs on the leading grid.
* its DDPM adds noise whenever t > 0, ours never in the step to the clean state: compared on linspace, whose last t is
  0, and for S = 1, where that step is the only one, on the leading grid.
* its linspace grid starts at t = 0 for S = 1, ours at T-1 (so do its PNDM and Heun). Its leading grid has the stride
  T // S, ours T / S rounded down: the same where S divides T and at S = 999. Its UniPC and DPM-Solver++ grids of S
  steps leave the last of S + 1 times to the clean state (linspace, leading): they get our times.
* at S = 1000 its DPM-Solver++ and UniPC have duplicate times on linspace, hence NaN: not compared, 999 is.
* its DPM-Solver++ casts states to float32: 1e-4 there, and in float64 for all others 1e-9 (its Heun in float64 only:
  at S = 1, its own x / alpha - sigma / alpha eps loses more than 1e-4 in float32; so does its PNDM's).
* its PNDM extrapolates the network's output, ours eps. For an eps-network that is the same; it refuses x0-networks; for
  v it is another method. It gets the eps of each of our networks.
* its DDIM takes eps anew after clip_sample and thresholding only with `use_clipped_model_output=True`, which it gets;
  its thresholding does nothing at its default `sample_max_value=1`. Elsewhere clip_sample is off.
* its learned variance comes in [-1, 1], ours in [0, 1]: Nichol & Dhariwal's own v, and the same number.
* its DPM-Solver++ of order 3 halves the second difference (`released=True` here), and below 15 steps lowers the order
  of the last two unless `lower_order_final=False`. Its DEIS is of logrho alone, and takes the logarithm of
  sigma / alpha at the end: compared down to t = 0.
* its flow matching keeps sigmas in float32, and casts states to it: 1e-4. EDM's Euler is given our estimate of x_0.
* its DDIMInverse scheduler is handed the time it goes to; where eps is evaluated is its caller's choice, here ours.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablatent.checks.gaussian import edm, rectified_flow
from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import X0, Eps, Parameterization, V
from ablatent.samplers.base import DenoiseFn, Sampler
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.ddpm import DDPM
from ablatent.samplers.deis import DEIS
from ablatent.samplers.dpm_solver import DPMSolver
from ablatent.samplers.dpm_solver_3 import DPMSolver3
from ablatent.samplers.dpm_solver_sde import DPMSolverSDE
from ablatent.samplers.euler import Euler
from ablatent.samplers.flow_heun import FlowHeun
from ablatent.samplers.heun import Heun
from ablatent.samplers.inversion import invert
from ablatent.samplers.plms import PLMS
from ablatent.samplers.unipc import UniPC
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.custom import Custom
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.schedules.linear import Linear
from ablatent.schedules.scaled_linear import ScaledLinear
from ablatent.schedules.sigmoid import Sigmoid

schedulers = pytest.importorskip("diffusers.schedulers")
STEPS = (1, 5, 20, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 50, 250, 999)))
PARAMETERIZATIONS: dict[str, Parameterization] = {"epsilon": Eps(), "sample": X0(), "v_prediction": V()}


def schedule(name: str, T: int = 1000, zero: bool = False) -> tuple[DiscreteSchedule, dict]:
    """Ours, and the arguments that make diffusers build the same."""
    if name == "squaredcos_cap_v2":
        return Cosine(T, 0.008, 0.999, zero), {"beta_schedule": name, "num_train_timesteps": T}
    if name == "sigmoid":  # diffusers' is a sigmoid in beta, as GeoDiff's
        options = {"beta_schedule": name, "beta_start": 0.0001, "beta_end": 0.02, "num_train_timesteps": T}
        return Sigmoid(T, 0.0001, 0.02, 6.0, zero), options
    start, end = (0.0001, 0.02) if name == "linear" else (0.0015, 0.0195)
    ours = (Linear if name == "linear" else ScaledLinear)(T, start, end, zero)
    return ours, {"beta_schedule": name, "beta_start": start, "beta_end": end, "num_train_timesteps": T}


class Contracting(nn.Module):
    """A fixed denoiser, nearly that of N(0, 0.5²), written in a parameterization; its steps shrink differences."""

    def __init__(self, s: DiscreteSchedule, p: Parameterization):
        super().__init__()
        self.s, self.p = s, p

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = self.s.alpha_sigma(t)
        p = contracting(self.s, x, t)
        return self.p.target(p.x0, p.eps, alpha.to(x.dtype), sigma.to(x.dtype))


def contracting(s: NoiseSchedule, x: Tensor, t: Tensor) -> Prediction:
    """What `Contracting` says of x_0 and eps, for any alpha and sigma."""
    alpha, sigma = (v.reshape(-1, 1, 1, 1).to(x.dtype) for v in s.alpha_sigma(t))
    norm = 0.25 * alpha**2 + sigma**2
    eps = sigma / norm * x + 0.05 * alpha * torch.sin(3 * x)
    x0 = 0.25 * alpha / norm * x - 0.05 * sigma * torch.sin(3 * x)
    return Prediction(x0, eps)


def inputs(steps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(steps)
    x = torch.randn(2, 3, 4, 4, generator=gen, dtype=torch.float64)
    return x.to(dtype), torch.randn(steps, 2, 3, 4, 4, generator=gen, dtype=torch.float64).to(dtype)


def denoiser(s: DiscreteSchedule, p: Parameterization) -> DenoiseFn:
    whole = Denoiser(Contracting(s, p), s, p)
    return lambda x, t: whole(x, t, Cond())


def walk(
    sampler: Sampler, s: DiscreteSchedule, denoise: DenoiseFn, x: Tensor, noise: Tensor, times: np.ndarray | None = None
) -> list[Tensor]:
    """The state after each step."""
    path = []

    def on_step(i: int, t: float, x_t: Tensor, prediction: object) -> Tensor:
        path.append(x_t)
        return x_t

    sampler(denoise, s, x, lambda i: noise[i], on_step, times)
    return path


def ours(sampler: Sampler, s: DiscreteSchedule, p: Parameterization, x: Tensor, noise: Tensor) -> list[Tensor]:
    return walk(sampler, s, denoiser(s, p), x, noise)


def close(path: list[Tensor], reference: list[Tensor], rtol: float) -> None:
    """Every state of the path, relative to the largest element."""
    assert len(path) == len(reference)
    for i, (a, b) in enumerate(zip(path, reference, strict=True)):
        error = float((a - b).abs().max() / b.abs().max())
        assert error < rtol, f"step {i}: relative error {error:.2e}"


def trajectory(scheduler: Any, network: Contracting, x: Tensor) -> list[Tensor]:
    """The states that diffusers' scheduler reaches."""
    states = [x]
    for t in scheduler.timesteps:
        states.append(scheduler.step(network(states[-1], t.repeat(2), Cond()), t, states[-1]).prev_sample)
    return states[1:]


def float64_tables(scheduler: object, s: DiscreteSchedule) -> None:
    one = torch.ones((), dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.one, scheduler.final_alpha_cumprod = s.alphas_cumprod, one, one


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("T", [50, 1000])
@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_alpha_bar(name: str, T: int, zero: bool) -> None:
    s, options = schedule(name, T, zero)
    reference = schedulers.DDPMScheduler(**options, rescale_betas_zero_snr=zero).alphas_cumprod
    torch.testing.assert_close(s.alphas_cumprod, reference.double(), rtol=0, atol=1e-6)


def test_alpha_bar_of_given_betas() -> None:
    betas = np.linspace(0.001, 0.3, 40).tolist()
    reference = schedulers.DDIMScheduler(trained_betas=betas).alphas_cumprod
    torch.testing.assert_close(Custom(betas, False).alphas_cumprod, reference.double(), rtol=0, atol=1e-6)


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
    reference, y = [], x
    for i, t in enumerate(scheduler.timesteps):
        out = network(y, t.repeat(2), Cond())
        y = scheduler.step(out, t, y, eta=eta, variance_noise=noise[i] if eta else None).prev_sample.to(dtype)
        reference.append(y)
    close(ours(sampler, s, p, x, noise), reference, rtol)


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
    reference = trajectory(scheduler, network, x)
    close(ours(DDIM(steps=50), s, V(), x, noise), reference, 1e-9)


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
    reference, y = [], x
    for i, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, n=noise[i], **k: n)
        y = scheduler.step(network(y, t.repeat(2), Cond()), int(t), y).prev_sample.to(dtype)
        reference.append(y)
    close(ours(sampler, s, p, x, noise), reference, rtol)


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
    reference = trajectory(scheduler, network, x)
    close(ours(sampler, s, p, x, noise), reference, 1e-4)


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
    reference, i = [], 0
    for call, t in enumerate(scheduler.timesteps):
        y = scheduler.step(network(scheduler.scale_model_input(y, t), t.repeat(2), Cond()), t, y).prev_sample
        if call % 2 or i == steps - 1:
            i += 1
            reference.append(y * alphas[i])
    close(ours(sampler, s, p, x, noise), reference, 1e-9)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("knobs", [{"clip_x0": 0.3}, {"dynamic_threshold": 0.9}])
def test_ddim_with_thresholds(knobs: dict[str, float], dtype: torch.dtype, rtol: float) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DDIMScheduler(
        **options,
        timestep_spacing="trailing",
        clip_sample="clip_x0" in knobs,
        clip_sample_range=0.3,
        thresholding="dynamic_threshold" in knobs,
        dynamic_thresholding_ratio=0.9,
        sample_max_value=1e9,
    )
    float64_tables(scheduler, s)
    scheduler.set_timesteps(20)
    network = Contracting(s, Eps())
    x, noise = inputs(20, dtype)
    x = 30 * x  # so that the estimates leave [-1, 1] on the way
    reference, y = [], x
    for t in scheduler.timesteps:
        out = network(y, t.repeat(2), Cond())
        y = scheduler.step(out, t, y, use_clipped_model_output=True).prev_sample.to(dtype)
        reference.append(y)
    close(ours(DDIM(steps=20, **knobs), s, Eps(), x, noise), reference, rtol)
    free = ours(DDIM(steps=20), s, Eps(), x, noise)
    assert float((free[-1] - reference[-1]).abs().max()) > 0.1


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", STEPS[:-1])
def test_ddpm_with_learned_variance(
    steps: int, kind: str, dtype: torch.dtype, rtol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, options = schedule("linear")
    grid = "leading" if steps == 1 else "linspace"
    scheduler = schedulers.DDPMScheduler(
        **options, prediction_type=kind, clip_sample=False, variance_type="learned_range", timestep_spacing=grid
    )
    float64_tables(scheduler, s)
    scheduler.set_timesteps(steps)
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DDPM(steps=steps, grid=grid, variance="learned")

    def denoise(y: Tensor, t: Tensor) -> Prediction:
        return replace(denoiser(s, p)(y, t), variance_fraction=0.5 + 0.6 * torch.sin(y))  # beyond [0, 1] too

    x, noise = inputs(steps, dtype)
    reference, y = [], x
    for i, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, n=noise[i], **k: n)
        out = torch.cat([network(y, t.repeat(2), Cond()), 1.2 * torch.sin(y)], dim=1)
        y = scheduler.step(out, int(t), y).prev_sample.to(dtype)
        reference.append(y)
    close(walk(sampler, s, denoise, x, noise), reference, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("steps", STEPS)
def test_plms(steps: int, kind: str, dtype: torch.dtype, rtol: float) -> None:
    """One step alone is a step of DDIM, with one call, on both sides."""
    s, options = schedule("scaled_linear")
    grid = "leading" if steps == 999 else "trailing"
    scheduler = schedulers.PNDMScheduler(**options, skip_prk_steps=True, set_alpha_to_one=True, timestep_spacing=grid)
    float64_tables(scheduler, s)
    scheduler.set_timesteps(steps)
    p = PARAMETERIZATIONS[kind]
    eps, sampler = denoiser(s, p), PLMS(steps=steps, grid=grid)
    assert len(scheduler.timesteps) == sampler.nfe()
    assert sorted(set(scheduler.timesteps.tolist())) == sampler.times(s)[-2::-1].tolist()
    x, noise = inputs(steps, dtype)
    reference, y = [], x
    for t in scheduler.timesteps:
        y = scheduler.step(eps(y, t.repeat(2)).eps, int(t), y).prev_sample.to(dtype)
        reference.append(y)
    # from T-1 to the clean state at once, x_0 = (x - sigma eps) / alpha makes float32's rounding 14 times larger
    close(ours(sampler, s, p, x, noise), reference[1:] if steps > 1 else reference, 14 * rtol if steps == 1 else rtol)


def nodes_as_ours(scheduler: object, s: DiscreteSchedule, times: np.ndarray) -> None:
    """Our times and float64 sigmas, for schedulers of sigma / alpha; the last of the times is where they arrive."""
    scheduler.set_timesteps(len(times) - 1)
    alpha, sigma = s.alpha_sigma(torch.from_numpy(times))
    scheduler.timesteps, scheduler.sigmas = torch.from_numpy(times[:-1]).long(), sigma / alpha
    scheduler.num_inference_steps = len(times) - 1


@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("steps", STEPS)
def test_dpm_solver_sde(steps: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DPMSolverMultistepScheduler(
        **options, prediction_type=kind, algorithm_type="sde-dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DPMSolverSDE(steps=steps)
    nodes_as_ours(scheduler, s, sampler.times(s))
    x, noise = inputs(steps, torch.float32)
    reference, y = [], x
    module = "diffusers.schedulers.scheduling_dpmsolver_multistep"
    for i, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *a, n=noise[i], **k: n)
        y = scheduler.step(network(y, t.repeat(2), Cond()), t, y).prev_sample
        reference.append(y)
    close(ours(sampler, s, p, x, noise), reference, 1e-4)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("steps", STEPS)
def test_unipc(steps: int, kind: str, dtype: torch.dtype, rtol: float) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.UniPCMultistepScheduler(
        **options, prediction_type=kind, solver_order=2, solver_type="bh2", predict_x0=True, final_sigmas_type="zero"
    )
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), UniPC(steps=steps)
    nodes_as_ours(scheduler, s, sampler.times(s))
    x, noise = inputs(steps, dtype)
    reference = trajectory(scheduler, network, x)
    close(ours(sampler, s, p, x, noise), reference, rtol)


@pytest.mark.parametrize("steps", [1, 5, 10, 50])
def test_unipc_down_to_sigma_min(steps: int) -> None:
    """The authors' own grid: S + 1 times, the last of them t = 0, and no clean state."""
    s, options = schedule("scaled_linear")
    scheduler = schedulers.UniPCMultistepScheduler(
        **options, solver_order=2, solver_type="bh2", final_sigmas_type="sigma_min", lower_order_final=False
    )
    times = np.linspace(999, 0, steps + 1).round()
    nodes_as_ours(scheduler, s, times)
    network = Contracting(s, Eps())
    x, noise = inputs(steps, torch.float64)
    reference = trajectory(scheduler, network, x)
    close(walk(UniPC(steps=1), s, denoiser(s, Eps()), x, noise, times), reference, 1e-9)


@pytest.mark.parametrize("steps", [1, 5, 10, 20, 50])
def test_inversion(steps: int) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DDIMInverseScheduler(**options, clip_sample=False, timestep_spacing="trailing")
    one = torch.ones((), dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.initial_alpha_cumprod = s.alphas_cumprod, one
    scheduler.set_timesteps(steps)
    denoise, (y, _) = denoiser(s, Eps()), inputs(steps, torch.float64)
    path: list[Tensor] = []

    def on_step(i: int, t: float, x: Tensor, p: Prediction) -> Tensor:
        path.append(x)
        return x

    invert(denoise, s, y, steps, on_step)
    reference, before = [], None
    for t in scheduler.timesteps:
        at, x = (t, y * s.alphas_cumprod[t].sqrt()) if before is None else (before, y)
        y = scheduler.step(denoise(x, at.repeat(2)).eps, t, y).prev_sample
        reference.append(y)
        before = t
    close(path, reference, 1e-9)


FLOW_STEPS = (1, 2, 5, 20, 50)


def velocity(s: NoiseSchedule, x: Tensor, t: float) -> Tensor:
    """What a network of flow matching says: eps - x_0."""
    p = contracting(s, x, torch.full((len(x),), t, dtype=torch.float64))
    return p.eps - p.x0


@pytest.mark.parametrize("kind", [Euler, DDIM])
@pytest.mark.parametrize("steps", FLOW_STEPS)
def test_euler_on_a_flow(steps: int, kind: type[Sampler]) -> None:
    s, sampler = rectified_flow(), kind(steps=steps, grid="uniform")
    times = sampler.times(s)
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps, sigmas=np.linspace(1.0, 1.0 / steps, steps))
    torch.testing.assert_close(scheduler.sigmas, s.alpha_sigma(torch.from_numpy(times))[1].float(), rtol=0, atol=1e-6)
    x, noise = inputs(steps, torch.float32)
    reference, y = [], x
    for at, t in zip(times, scheduler.timesteps, strict=False):
        y = scheduler.step(velocity(s, y, at), t, y).prev_sample
        reference.append(y)
    close(walk(sampler, s, lambda x, t: contracting(s, x, t), x, noise), reference, 1e-4)


@pytest.mark.parametrize("steps", FLOW_STEPS)
def test_heun_on_a_flow(steps: int) -> None:
    s, sampler = rectified_flow(), FlowHeun(steps=steps, grid="uniform")
    times = sampler.times(s)
    scheduler = schedulers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    u = s.alpha_sigma(torch.from_numpy(times))[1].float()
    scheduler.sigmas = torch.cat([u[:1], u[1:-1].repeat_interleave(2), u[-1:]])
    scheduler.timesteps = torch.cat([u[:1], u[1:-1].repeat_interleave(2)]) * 1000
    assert len(scheduler.timesteps) == sampler.nfe()
    x, noise = inputs(steps, torch.float32)
    y, reference, i = x, [], 0
    for call, t in enumerate(scheduler.timesteps):
        y = scheduler.step(velocity(s, y, float(t) - 1.0), t, y).prev_sample
        if call % 2 or i == steps - 1:
            i += 1
            reference.append(y)
    close(walk(sampler, s, lambda x, t: contracting(s, x, t), x, noise), reference, 1e-4)


@pytest.mark.parametrize("kind", [Euler, DDIM])
@pytest.mark.parametrize("steps", FLOW_STEPS)
def test_euler_of_edm(steps: int, kind: type[Sampler]) -> None:
    s, sampler = edm(), kind(steps=steps, grid="karras")
    sigmas = s.alpha_sigma(torch.from_numpy(sampler.times(s)))[1]
    scheduler = schedulers.EDMEulerScheduler()
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(scheduler.sigmas.double(), sigmas, rtol=1e-5, atol=0)
    x, noise = inputs(steps, torch.float64)
    y = sampler.initial_state(s, x)
    torch.testing.assert_close(y, scheduler.init_noise_sigma * x)
    path = walk(sampler, s, lambda x, t: contracting(s, x, t), y, noise)
    scheduler.sigmas, reference = sigmas, []
    for at, t in zip(sampler.times(s), scheduler.timesteps, strict=False):
        x0 = contracting(s, y, torch.full((2,), at, dtype=torch.float64)).x0
        scheduler.is_scale_input_called = True
        y = scheduler.step(torch.zeros_like(y), t, y, pred_original_sample=x0).prev_sample
        reference.append(y)
    close(path, reference, 1e-4)


@pytest.mark.parametrize("kind", [Heun, FlowHeun])
@pytest.mark.parametrize("steps", FLOW_STEPS)
def test_heun_of_edm(steps: int, kind: type[Sampler]) -> None:
    s, sampler = edm(), kind(steps=steps, grid="karras")
    times = sampler.times(s)
    sigmas = s.alpha_sigma(torch.from_numpy(times))[1]
    scheduler = schedulers.HeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    x, noise = inputs(steps, torch.float64)
    y = sampler.initial_state(s, x)
    path = walk(sampler, s, lambda x, t: contracting(s, x, t), y, noise)
    reference, i = [], 0
    for call, t in enumerate(scheduler.timesteps):
        at = torch.full((2,), times[(call + 1) // 2], dtype=torch.float64)
        y = scheduler.step(contracting(s, y, at).eps, t, y).prev_sample
        if call % 2 or i == steps - 1:
            i += 1
            reference.append(y)
    close(path, reference, 1e-9)


@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
@pytest.mark.parametrize("steps", STEPS)
def test_dpm_solver_3(steps: int, kind: str) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DPMSolverMultistepScheduler(
        **options,
        prediction_type=kind,
        algorithm_type="dpmsolver++",
        solver_order=3,
        final_sigmas_type="zero",
        lower_order_final=False,
    )
    p = PARAMETERIZATIONS[kind]
    network, sampler = Contracting(s, p), DPMSolver3(steps=steps, released=True)
    nodes_as_ours(scheduler, s, sampler.times(s))
    x, noise = inputs(steps, torch.float32)
    reference = trajectory(scheduler, network, x)
    close(ours(sampler, s, p, x, noise), reference, 1e-4)


@pytest.mark.parametrize(("order", "sampler"), [(2, DPMSolver(steps=1)), (3, DPMSolver3(steps=1, released=True))])
@pytest.mark.parametrize("steps", [5, 20])
def test_dpm_solver_on_a_flow(steps: int, order: int, sampler: Sampler) -> None:
    """From u = 0.95: its log-SNR of pure noise is that of u = 1 - 1e-6 or so."""
    s, times = rectified_flow(), 950.0 * (1 - np.arange(steps + 1) / steps) - 1.0
    scheduler = schedulers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        solver_order=order,
        final_sigmas_type="zero",
        lower_order_final=False,
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = s.alpha_sigma(torch.from_numpy(times))[1]
    scheduler.timesteps, scheduler.num_inference_steps = torch.from_numpy(times[:-1]), steps
    x, noise = inputs(steps, torch.float32)
    reference, y = [], x
    for at, t in zip(times, scheduler.timesteps, strict=False):
        y = scheduler.step(velocity(s, y, at), t, y).prev_sample
        reference.append(y)
    close(walk(sampler, s, lambda x, t: contracting(s, x, t), x, noise, times), reference, 1e-4)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize("steps", STEPS)
def test_deis(steps: int, dtype: torch.dtype, rtol: float) -> None:
    s, options = schedule("scaled_linear")
    scheduler = schedulers.DEISMultistepScheduler(**options, solver_order=3, lower_order_final=False)
    times = np.linspace(999, 0, steps + 1).round()
    nodes_as_ours(scheduler, s, times)
    network = Contracting(s, Eps())
    x, noise = inputs(steps, dtype)
    reference, y = [], x
    for t in scheduler.timesteps:
        y = scheduler.step(network(y, t.repeat(2), Cond()), t, y).prev_sample.to(dtype)
        reference.append(y)
    sampler = DEIS(steps=1, variable="log_rho")
    close(walk(sampler, s, denoiser(s, Eps()), x, noise, times), reference, rtol)
