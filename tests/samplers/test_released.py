"""Samples of the released latent diffusion code can be made again: its DDIM and PLMS, written out, with grid=compvis.

What its make_ddim_timesteps, make_ddim_sampling_parameters, p_sample_ddim and p_sample_plms compute (ldm/modules/
diffusionmodules/util.py, ldm/models/diffusion/ddim.py and plms.py), in float64.
"""

import numpy as np
import pytest
import torch
from sampler_cases import CASES, make
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.grids import time_grid
from ablatent.samplers.plms import PLMS
from ablatent.schedules.discrete import DiscreteSchedule
from ablatent.schedules.scaled_linear import ScaledLinear

S = ScaledLinear(1000, 0.0015, 0.0195, False)
STEPS = (20, 50, 100, 200, 250)


class Released:
    """A sampler of the released code: its tables, and the steps of both methods."""

    def __init__(self, schedule: DiscreteSchedule, steps: int, eta: float):
        alphacums = schedule.alphas_cumprod.numpy()
        stride = len(alphacums) // steps
        self.timesteps = np.asarray(list(range(0, len(alphacums), stride))) + 1
        self.alphas = alphacums[self.timesteps]
        self.alphas_prev = np.asarray([alphacums[0], *alphacums[self.timesteps[:-1]].tolist()])
        share = (1 - self.alphas_prev) / (1 - self.alphas) * (1 - self.alphas / self.alphas_prev)
        self.sigmas = eta * np.sqrt(share)

    def previous(self, x: Tensor, e_t: Tensor, index: int, noise: Tensor) -> Tensor:
        a_t, a_prev, sigma_t = self.alphas[index], self.alphas_prev[index], self.sigmas[index]
        pred_x0 = (x - np.sqrt(1.0 - a_t) * e_t) / np.sqrt(a_t)
        dir_xt = np.sqrt(1.0 - a_prev - sigma_t**2) * e_t
        return np.sqrt(a_prev) * pred_x0 + dir_xt + sigma_t * noise

    def ddim(self, x: Tensor, noise: Tensor) -> list[Tensor]:
        path = []
        for i, step in enumerate(np.flip(self.timesteps)):
            x = self.previous(x, network(x, float(step)), len(self.timesteps) - i - 1, noise[i])
            path.append(x)
        return path

    def plms(self, x: Tensor, noise: Tensor) -> list[Tensor]:
        path, old_eps, time_range = [], [], np.flip(self.timesteps)
        for i, step in enumerate(time_range):
            index, e_t = len(self.timesteps) - i - 1, network(x, float(step))
            if len(old_eps) == 0:
                x_prev = self.previous(x, e_t, index, noise[i])
                e_t_next = network(x_prev, float(time_range[min(i + 1, len(time_range) - 1)]))
                e_t_prime = (e_t + e_t_next) / 2
            elif len(old_eps) == 1:
                e_t_prime = (3 * e_t - old_eps[-1]) / 2
            elif len(old_eps) == 2:
                e_t_prime = (23 * e_t - 16 * old_eps[-1] + 5 * old_eps[-2]) / 12
            else:
                e_t_prime = (55 * e_t - 59 * old_eps[-1] + 37 * old_eps[-2] - 9 * old_eps[-3]) / 24
            x = self.previous(x, e_t_prime, index, noise[i])
            path.append(x)
            old_eps = [*old_eps, e_t][-3:]
        return path


def network(x: Tensor, t: float) -> Tensor:
    """eps of a denoiser, nearly that of N(0, 0.5²), at one time."""
    alpha, sigma = (float(v) for v in S.alpha_sigma(torch.tensor([t])))
    return sigma / (0.25 * alpha**2 + sigma**2) * x + 0.05 * alpha * torch.sin(3 * x)


def denoise(x: Tensor, t: Tensor) -> Prediction:
    alpha, sigma = (float(v) for v in S.alpha_sigma(t[:1]))
    eps = network(x, float(t[0]))
    return Prediction(x0=(x - sigma * eps) / alpha, eps=eps)


def path_of(sampler: DDIM | PLMS, x: Tensor, noise: Tensor) -> list[Tensor]:
    path: list[Tensor] = []

    def on_step(i: int, t: float, x_t: Tensor, prediction: Prediction) -> Tensor:
        path.append(x_t)
        return x_t

    sampler(denoise, S, x, lambda i: noise[i], on_step)
    return path


@pytest.mark.parametrize("sampler", ["ddim eta=0", "ddim eta=0.5", "ddim eta=1", "plms"])
@pytest.mark.parametrize("steps", STEPS)
def test_every_state_is_that_of_the_released_code(steps: int, sampler: str) -> None:
    name, _, eta = sampler.partition(" eta=")
    g = torch.Generator().manual_seed(steps)
    x = torch.randn(2, 3, 4, 4, generator=g, dtype=torch.float64)
    noise = torch.randn(steps, 2, 3, 4, 4, generator=g, dtype=torch.float64)
    released = Released(S, steps, float(eta or 0))
    ours = DDIM(steps=steps, grid="compvis", eta=float(eta)) if eta else PLMS(steps=steps, grid="compvis")
    expected = released.ddim(x, noise) if name == "ddim" else released.plms(x, noise)
    path = path_of(ours, x, noise)
    assert len(path) == len(expected) == steps
    for got, state in zip(path, expected, strict=True):
        torch.testing.assert_close(got, state, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", STEPS)
def test_times_are_those_of_the_released_code(steps: int) -> None:
    times = time_grid("compvis", S, steps)
    assert times.tolist() == [*np.flip(Released(S, steps, 0.0).timesteps).tolist(), 0]
    assert times[:-1].tolist() == [t + 1 for t in time_grid("leading", S, steps)[:-1].tolist()]


def test_fifty_steps_by_hand() -> None:
    times = time_grid("compvis", S, 50)
    assert times[:3].tolist() == [981, 961, 941] and times[-3:].tolist() == [21, 1, 0]


@pytest.mark.parametrize("steps", [1, 30, 300, 999, 1000])
def test_what_the_released_code_has_no_such_grid_for_is_refused(steps: int) -> None:
    """It takes 31 steps for 30, and fails at 300 (t = 1000) and 1000."""
    with pytest.raises(ConfigError, match="a divisor of 1000 from 2 to 500") as error:
        DDIM(steps=steps, grid="compvis").check(S)
    assert error.value.key == "sampler.steps"


@pytest.mark.parametrize("case", CASES)
def test_every_sampler_ends_at_t_0_and_counts_its_calls(case: str) -> None:
    calls = []

    def counted(x: Tensor, t: Tensor) -> Prediction:
        calls.append(float(t[0]))
        p = denoise(x, t)
        return Prediction(p.x0, p.eps, torch.full_like(x, 0.5))

    sampler = make(case, steps=20, grid="compvis")
    x = sampler(counted, S, torch.randn(1, 1, 2, 2, dtype=torch.float64), lambda i: torch.zeros(1, 1, 2, 2))
    assert len(calls) == sampler.nfe() and min(calls) >= 0 and bool(torch.isfinite(x).all())
