"""What the tests of samplers share: the options of conf/sampler, found by looking, and data whose denoiser is known.

A new sampler is one file and one YAML; it is in NAMES and CASES without a line here.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, Sampler
from ablatent.samplers.grids import GRIDS
from ablatent.schedules.base import NoiseSchedule
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.linear import Linear

CONF = Path(__file__).parents[2] / "conf" / "sampler"
NAMES = sorted(p.stem for p in CONF.glob("*.yaml"))
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim_half": ("ddim", {"eta": 0.5}),
    "ddim_ancestral": ("ddim", {"eta": 1.0}),
    "ddpm_beta": ("ddpm", {"variance": "beta"}),
    "ddpm_learned": ("ddpm", {"variance": "learned"}),
}
CASES = [*NAMES, *VARIANTS]

ANY_STEPS = [grid for grid in GRIDS if grid != "compvis"]
"""The grids that have every number of steps."""

MEAN, STD = 0.7, 0.5
"""The Gaussian data."""

FRACTION = 0.3
"""What the denoisers say of the variance, for samplers that ask."""

WEIGHTS, MEANS, STDS = (0.5, 0.2, 0.3), (-1.0, 0.1, 1.3), (0.3, 0.15, 0.4)
"""The mixture, of three Gaussians, for each pixel."""


def options(name: str) -> dict[str, Any]:
    """The YAML as it stands."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def make(case: str, steps: int = 5, **changes: Any) -> Sampler:
    """The sampler of a YAML (or a variant of one), as Hydra makes it, with this number of steps."""
    name, knobs = VARIANTS.get(case, (case, {}))
    return instantiate(options(name) | knobs | {"steps": steps} | changes, _convert_="all")


every_sampler = pytest.mark.parametrize("name", NAMES)
every_case = pytest.mark.parametrize("case", CASES)


def linear(T: int = 1000, zero: bool = False) -> NoiseSchedule:
    return Linear(T, 0.0001, 0.02, zero)


def cosine(T: int = 1000, zero: bool = False) -> NoiseSchedule:
    return Cosine(T, 0.008, 0.999, zero)


def levels(s: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma, ready to multiply images."""
    alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in s.alpha_sigma(t))
    return alpha, sigma


def exact(s: NoiseSchedule) -> DenoiseFn:
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(MEAN, STD²)."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = levels(s, t)
        norm = alpha**2 * STD**2 + sigma**2
        away = x - alpha * MEAN
        x0 = MEAN + alpha * STD**2 / norm * away
        return Prediction(x0=x0, eps=sigma / norm * away, variance_fraction=torch.full_like(x0, FRACTION))

    return denoise


def mixture_x0(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[x_0 | x_t] of the mixture: the components' own means, weighted by how likely each is to have made x_t."""
    w, m, c = (torch.tensor(v, dtype=torch.float64) for v in (WEIGHTS, MEANS, STDS))
    x, alpha, sigma = x[..., None], alpha[..., None], sigma[..., None]
    norm = alpha**2 * c**2 + sigma**2
    away = x - alpha * m
    share = torch.softmax(torch.log(w) - 0.5 * away**2 / norm - 0.5 * torch.log(norm), dim=-1)
    return (share * (m + alpha * c**2 / norm * away)).sum(dim=-1)


def mixture(s: NoiseSchedule) -> DenoiseFn:
    """E[x_0 | x_t] and E[eps | x_t] for the mixture."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = levels(s, t)
        x0 = mixture_x0(x, alpha, sigma)
        return Prediction(x0=x0, eps=(x - alpha * x0) / sigma, variance_fraction=torch.full_like(x0, FRACTION))

    return denoise


def no_noise(i: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def noises(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=gen, dtype=torch.float64)


def moments(
    sampler: Sampler, s: NoiseSchedule, mean: float, var: float, times: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean and variance of the last state on Gaussian data, if the first has these: exact, without a random number.

    There a sampler is affine in its first state and in each noise, so that one batch tells all: a row for the offset,
    one for each coefficient, and one more that would come out wrong if it were not affine.
    """
    steps = len(sampler.times(s) if times is None else times) - 1
    x, z = torch.zeros(steps + 3, 1, 1, 1, dtype=torch.float64), torch.zeros(steps, steps + 3, 1, 1, 1).double()
    x[1], x[-1] = 1.0, -2.0
    for i in range(steps):
        z[i, i + 2] = 1.0
    offset, gain, *noise, other = (
        sampler(exact(s), s, x, (lambda i: z[i]) if sampler.stochastic else no_noise, times=times).flatten().tolist()
    )
    assert other == pytest.approx(3 * offset - 2 * gain, abs=1e-9), "not affine on Gaussian data"
    factor = gain - offset
    return offset + factor * mean, factor**2 * var + math.fsum((b - offset) ** 2 for b in noise)


def slope(steps: list[int], errors: list[float]) -> float:
    """The order of convergence that fits best."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
