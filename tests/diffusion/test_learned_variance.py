"""The learned reverse variance: its bound against torch's own distributions, and what it trains."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.learned_variance import bound
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.parameterization import X0, Eps, V
from ablatent.diffusion.weighting import Simple
from ablatent.samplers.ddpm import DDPM
from ablatent.schedules.linear import Linear

S = Linear(1000, 0.0001, 0.02, False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("t", [1, 2, 500, 999])
def test_the_bound_is_the_kl_of_two_gaussians(t: int) -> None:
    x0, x0_hat, fraction = noise(3, 2, 4, 4), noise(3, 2, 4, 4, seed=1), noise(3, 2, 4, 4, seed=2).sigmoid()
    beta, ab, before = S.betas[t], S.alphas_cumprod[t], S.alphas_cumprod[t - 1]
    tilde = beta * (1 - before) / (1 - ab)
    weight = before.sqrt() * beta / (1 - ab)  # Ho et al. 2020, eq. 7; the part of x_t is the same in both means
    std = torch.exp(0.5 * (fraction * beta.log() + (1 - fraction) * tilde.log()))
    expected = kl_divergence(Normal(weight * x0, tilde.sqrt()), Normal(weight * x0_hat, std)).mean(dim=(1, 2, 3))
    got = bound(S, x0, x0_hat, fraction, torch.full((3,), t))
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-12)


def test_the_first_term_is_a_gaussian_likelihood() -> None:
    x0, x0_hat = noise(3, 2, 4, 4), noise(3, 2, 4, 4, seed=1)
    std = S.betas[0].sqrt()
    expected = -Normal(x0_hat, std).log_prob(x0).mean(dim=(1, 2, 3))
    got = bound(S, x0, x0_hat, torch.ones_like(x0), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(got, expected)


class Doubled(nn.Module):
    """Says 0.5 x_t, and a constant for the variance."""

    def __init__(self, c: int, value: float = 0.0):
        super().__init__()
        self.mean = nn.Conv2d(c, c, 1).double()
        self.value = nn.Parameter(torch.full((c,), value, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        return torch.cat([self.mean(x), self.value[None, :, None, None].expand_as(x)], dim=1)


@pytest.mark.parametrize("parameterization", [Eps(), X0(), V()])
def test_the_bound_trains_the_variance_only(parameterization) -> None:
    x0, eps, t = noise(4, 2, 4, 4), noise(4, 2, 4, 4, seed=1), torch.tensor([0, 10, 400, 999])
    gradients = []
    for vlb_weight in (0.0, 0.001):
        torch.manual_seed(0)
        network = Doubled(2)
        loss = DiffusionLoss(Denoiser(network, S, parameterization, True), Simple(), "mse", vlb_weight)
        loss(x0, t, eps, Cond()).mean().backward()
        gradients.append((network.mean.weight.grad, network.value.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert not gradients[0][1].any() and gradients[1][1].abs().min() > 0


def test_the_best_fraction_of_gaussian_data_is_beta() -> None:
    """For data N(0, 1) the reverse variance is exactly beta (Ho et al. 2020, section 3.2): the bound must find it."""
    t, n = torch.full((2000,), 30), 2000
    x0, eps = noise(n, 1, 4, 4), noise(n, 1, 4, 4, seed=1)
    x_t = S.q_sample(x0, t, eps)
    x0_hat = S.alphas_cumprod[30].sqrt() * x_t
    losses = [float(bound(S, x0, x0_hat, torch.full_like(x0, f), t).mean()) for f in (0.0, 0.5, 0.9, 1.0, 1.1, 1.5)]
    assert min(losses) == losses[3], losses


def test_learned_variance_reaches_the_sampler() -> None:
    """Fractions 1 and 0 are the fixed variances beta and beta_tilde."""
    z = [noise(2, 2, 4, 4, seed=10 + i) for i in range(8)]
    for value, variance in ((1.0, "beta"), (-1.0, "beta_tilde")):
        torch.manual_seed(0)
        denoiser = Denoiser(Doubled(2, value), S, V(), True)
        x = [
            DDPM(steps=8, variance=v)(lambda x, t, d=denoiser: d(x, t, Cond()), S, noise(2, 2, 4, 4), lambda i: z[i])
            for v in ("learned", variance)
        ]
        torch.testing.assert_close(x[0], x[1], rtol=1e-9, atol=1e-9)
    assert math.isfinite(float(x[0].sum()))
