"""The training loss of a denoiser, per sample: mean over pixels of rho(sqrt(w g) (out - target))."""

import torch
from einops import reduce
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn.functional import huber_loss

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.types import Cond
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.learned_variance import bound
from ablatent.diffusion.parameterization import at_least_float32
from ablatent.diffusion.weighting import Weighting
from ablatent.schedules.base import is_real
from ablatent.schedules.discrete import DiscreteSchedule

RHO = ("mse", "l1", "huber")


def penalty(residual: Float[Tensor, "b c h w"], rho: str) -> Float[Tensor, "b c h w"]:
    """rho of each element: mse r², l1 |r|, huber r²/2 up to |r| = 1 and |r| - 1/2 beyond."""
    if rho == "mse":
        return residual**2
    if rho == "l1":
        return residual.abs()
    return huber_loss(residual, torch.zeros_like(residual), reduction="none")


class DiffusionLoss:
    """(x0, t, eps, cond) -> (b,) losses.

    rho: mse (all published weightings mean this one), l1 or huber. Since the residual is scaled by sqrt(w g)
    before rho, one output written in another parameterization has the same loss under each of the three.
    vlb_weight: of the bound that trains a learned variance, times T since the bound is a sum over T terms (L_hybrid =
    L + lambda L_vlb, Nichol & Dhariwal 2021, eq. 16, lambda = 0.001); not used where the variance is not learned.
    Raises ConfigError for an unknown rho and for a weighting that is infinite at some timestep.
    """

    def __init__(self, denoiser: Denoiser, weighting: Weighting, rho: str = "mse", vlb_weight: float = 0.001):
        if rho not in RHO:
            raise ConfigError("training.loss", f"one of {', '.join(RHO)}", rho, did_you_mean(rho, RHO))
        if not (is_real(vlb_weight) and vlb_weight >= 0):
            raise ConfigError("diffusion.vlb_weight", "a number of at least 0 (the paper: 0.001)", vlb_weight)
        weighting.check(denoiser.schedule, denoiser.parameterization)
        self.denoiser, self.weighting, self.rho, self.vlb_weight = denoiser, weighting, rho, vlb_weight
        self.weights = weighting.loss_weights(denoiser.schedule, denoiser.parameterization)
        if not bool(torch.isfinite(self.weights).all()):
            raise ConfigError(
                "weighting",
                "finite weights at every timestep",
                type(weighting).__name__,
                f"With parameterization={denoiser.parameterization.name} this schedule makes some of them infinite.",
            )

    def __call__(
        self, x0: Float[Tensor, "b c h w"], t: Real[Tensor, " b"], eps: Float[Tensor, "b c h w"], cond: Cond
    ) -> Float[Tensor, " b"]:
        """x0: clean, normalised latents; t: times of training, as `schedule.time_at` gives them; eps: N(0, 1). Never
        below float32."""
        x0 = at_least_float32(x0)
        schedule, parameterization = self.denoiser.schedule, self.denoiser.parameterization
        alpha, sigma = schedule.alpha_sigma(t)
        x_t = schedule.q_sample(x0, t, eps)
        out, fraction = self.denoiser.output(x_t, t, cond)
        residual = out - parameterization.target(x0, eps, alpha, sigma)
        weight = self._weights(t).to(residual.dtype)
        if self.rho == "mse":  # without the root and its square: the same to the last bits, and exact for weight 1
            loss = weight * reduce(residual**2, "b c h w -> b", "mean")
        else:
            residual = torch.sqrt(weight)[:, None, None, None] * residual
            loss = reduce(penalty(residual, self.rho), "b c h w -> b", "mean")
        if fraction is None or self.vlb_weight == 0 or not isinstance(schedule, DiscreteSchedule):
            return loss  # the denoiser refuses a learned variance with any other schedule
        x0_hat = parameterization.prediction(out.detach(), x_t, alpha, sigma).x0
        return loss + self.vlb_weight * schedule.T * bound(schedule, x0, x0_hat, fraction, t)

    def _weights(self, t: Real[Tensor, " b"]) -> Float[Tensor, " b"]:
        """w · g at these times: of a discrete schedule from the table."""
        if self.denoiser.schedule.continuous:
            return self.weighting.loss_weights(self.denoiser.schedule, self.denoiser.parameterization, t)
        if self.weights.device != t.device:
            self.weights = self.weights.to(t.device)
        return self.weights[t]


def by_timestep(loss: Float[Tensor, " n"], t: Real[Tensor, " n"], T: int, buckets: int = 4) -> dict[str, float]:
    """Mean loss within equal parts of [0, T), as `loss_t/000-249`: a single mean hides which noise levels learn.

    Parts without a sample are left out.
    """
    part = (t * buckets).div(T, rounding_mode="floor").long()
    count = torch.zeros(buckets, dtype=torch.float64, device=loss.device).index_add_(
        0, part, torch.ones_like(loss, dtype=torch.float64)
    )
    total = torch.zeros_like(count).index_add_(0, part, loss.detach().to(torch.float64))
    width = len(str(T - 1))
    result = {}
    for k, (n, value) in enumerate(zip(count.tolist(), total.tolist(), strict=True)):
        first, last = -(-k * T // buckets), -(-(k + 1) * T // buckets) - 1  # the t with floor(t · buckets / T) = k
        if n:
            result[f"loss_t/{first:0{width}d}-{last:0{width}d}"] = value / n
    return result
