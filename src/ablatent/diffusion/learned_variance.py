"""The bound that trains a learned reverse variance (Nichol & Dhariwal 2021, section 3.1)."""

import math

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from ablatent.schedules.base import per_row
from ablatent.schedules.discrete import DiscreteSchedule


def bound(
    schedule: DiscreteSchedule,
    x0: Float[Tensor, "b c h w"],
    x0_hat: Float[Tensor, "b c h w"],
    fraction: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """The term L_t of the variational bound for one step of the schedule, mean over dimensions, in nats.

    t > 0: KL of q(x_{t-1} | x_t, x_0) from the Gaussian of the same form with x0_hat, whose log-variance lies
    `fraction` of the way from log beta_tilde to log beta (eq. 15). t = 0: -log N(x_0; x0_hat, variance); latents are
    continuous, so there is no discretised likelihood, and the number may be negative. beta_tilde_0 is 0: that of t = 1
    stands for it, as in the released code. x0_hat should be detached: the bound then trains the variance only.
    """
    alpha2, sigma2 = schedule.alphas_cumprod, 1.0 - schedule.alphas_cumprod
    before = torch.cat([torch.ones_like(alpha2[:1]), alpha2[:-1]])
    tilde = schedule.betas * (1.0 - before) / sigma2
    tilde[0] = tilde[1] if schedule.T > 1 else schedule.betas[0]
    step = before.sqrt() * schedule.betas / sigma2  # of x_0 in the mean of q(x_{t-1} | x_t, x_0)
    low, high, scale = (per_row(table[t], x0) for table in (tilde.log(), schedule.betas.log(), step))
    log_variance = torch.lerp(low.expand_as(fraction), high.expand_as(fraction), fraction.to(low.dtype))
    error = (scale * (x0 - x0_hat)) ** 2 * torch.exp(-log_variance)
    kl = 0.5 * (log_variance - low - 1.0 + torch.exp(low - log_variance) + error)
    likelihood = 0.5 * (log_variance + math.log(2 * math.pi) + error)
    return reduce(torch.where(per_row((t == 0).to(x0.dtype), x0) > 0, likelihood, kl), "b c h w -> b", "mean")
