"""A network, the schedule it was trained on and the meaning of its output: together they denoise."""

from dataclasses import replace

from jaxtyping import Float, Real
from torch import Tensor, nn

from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.compatibility import check_whole_times
from ablatent.diffusion.parameterization import Parameterization, at_least_float32
from ablatent.schedules.base import NoiseSchedule


class Denoiser(nn.Module):
    """(x_t, t, cond) -> Prediction.

    network: called as network(x_t, t, cond), answers in the shape of x_t; t comes as (b,) floats in the dtype of x_t
    (never below float32), real-valued, in [0, T-1].
    learned_variance: the network answers with twice the channels; the second half, from -1 to 1, places the reverse
    variance between beta_tilde and beta (Nichol & Dhariwal 2021, eq. 15).
    Raises ConfigError for eps with zero terminal SNR, and for a learned variance with a schedule of real times.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        parameterization: Parameterization,
        learned_variance: bool = False,
    ):
        super().__init__()
        parameterization.check(schedule)
        check_whole_times("diffusion.learned_variance", "true", learned_variance, schedule.continuous)
        self.network = network
        self.schedule = schedule
        self.parameterization = parameterization
        self.learned_variance = learned_variance

    def output(
        self, x_t: Float[Tensor, "b c h w"], t: Real[Tensor, " b"], cond: Cond
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"] | None]:
        """The network's own answer, in whatever parameterization it was trained, and the variance fraction where it
        is learned (0: log beta_tilde, 1: log beta). Never below float32."""
        dtype = at_least_float32(x_t).dtype
        if self.parameterization.scales_input:
            x_t = self.parameterization.input(x_t, *self.schedule.alpha_sigma(t))
        out: Tensor = at_least_float32(self.network(x_t, t.to(dtype), cond))
        if not self.learned_variance:
            return out, None
        mean, variance = out.chunk(2, dim=1)
        return mean, 0.5 * (variance + 1.0)

    def forward(self, x_t: Float[Tensor, "b c h w"], t: Real[Tensor, " b"], cond: Cond) -> Prediction:
        """x_0 and eps as the network sees them; dtype of x_t, never below float32."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        out, fraction = self.output(x_t, t, cond)
        return replace(self.parameterization.prediction(out, x_t, alpha, sigma), variance_fraction=fraction)
