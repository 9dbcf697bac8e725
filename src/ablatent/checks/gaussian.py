"""Data whose denoiser is known exactly: Gaussians, and a mixture of three of them. No network, no random number."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.suite import Broken, expect
from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, Sampler
from ablatent.schedules.base import NoiseSchedule, per_row
from ablatent.schedules.cosine import Cosine
from ablatent.schedules.edm import EDM
from ablatent.schedules.linear import Linear
from ablatent.schedules.rectified_flow import RectifiedFlow

MEAN, STD = 0.7, 0.5
"""The Gaussian data."""

FRACTION = 0.3
"""What the denoisers predict of the variance, for samplers that read it."""

WEIGHTS, MEANS, STDS = (0.5, 0.2, 0.3), (-1.0, 0.1, 1.3), (0.3, 0.15, 0.4)
"""The mixture, of three Gaussians, for each pixel."""


def linear(T: int = 1000, zero: bool = False) -> NoiseSchedule:
    """The linear schedule of Ho et al. zero: with zero terminal SNR."""
    return Linear(T, 0.0001, 0.02, zero)


def cosine(T: int = 1000, zero: bool = False) -> NoiseSchedule:
    """The cosine schedule of Nichol & Dhariwal. zero: with zero terminal SNR."""
    return Cosine(T, 0.008, 0.999, zero)


def rectified_flow(T: int = 1000, shift: float = 1.0) -> NoiseSchedule:
    """Straight lines: alpha = 1 - u, sigma = u."""
    return RectifiedFlow(T, shift)


def edm(T: int = 1000) -> NoiseSchedule:
    """The levels of Karras et al. 2022: alpha = 1, sigma from 0.002 to 80."""
    return EDM(T, 0.002, 80.0)


def further() -> list[NoiseSchedule]:
    """Schedules whose alpha² + sigma² is not 1, on which samplers are checked as well."""
    return [rectified_flow(), edm()]


def exact(s: NoiseSchedule) -> DenoiseFn:
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(MEAN, STD²)."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (per_row(v, x) for v in s.alpha_sigma(t))
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
        alpha, sigma = (per_row(v, x) for v in s.alpha_sigma(t))
        x0 = mixture_x0(x, alpha, sigma)
        return Prediction(x0=x0, eps=(x - alpha * x0) / sigma, variance_fraction=torch.full_like(x0, FRACTION))

    return denoise


def no_noise(i: int) -> Tensor:
    """The noise of samplers that take none. Raises Broken."""
    raise Broken("no call for noise by a sampler that is not `stochastic`", f"one in step {i}")


def noises(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """N(0, 1) in float64, (n, *shape)."""
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=gen, dtype=torch.float64)


def moments(
    sampler: Sampler, s: NoiseSchedule, mean: float, var: float, times: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean and variance of the last state on Gaussian data, if the first has these: exact, without a random number.

    There a sampler is affine in its first state and in each noise, so that one batch tells all: a row for the offset,
    one for each coefficient, and one more that would come out wrong if it were not affine. Raises Broken if it does.
    """
    steps = len(sampler.times(s) if times is None else times) - 1
    x, z = torch.zeros(steps + 3, 1, 1, 1, dtype=torch.float64), torch.zeros(steps, steps + 3, 1, 1, 1).double()
    x[1], x[-1] = 1.0, -2.0
    for i in range(steps):
        z[i, i + 2] = 1.0
    offset, gain, *noise, other = (
        sampler(exact(s), s, x, (lambda i: z[i]) if sampler.stochastic else no_noise, times=times).flatten().tolist()
    )
    apart = abs(other - (3 * offset - 2 * gain))
    expect(apart <= 1e-9, "a sampler that is affine in its state, on Gaussian data", f"{apart:.3g} from it")
    factor = gain - offset
    return offset + factor * mean, factor**2 * var + math.fsum((b - offset) ** 2 for b in noise)


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    """The order of convergence that fits best."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
