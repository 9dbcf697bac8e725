"""A network, the schedule it was trained on and the meaning of its output: together they denoise."""

from jaxtyping import Float, Real
from torch import Tensor, nn

from ablatent.core.types import Cond, Prediction
from ablatent.diffusion.parameterization import Parameterization, at_least_float32
from ablatent.schedules.base import NoiseSchedule


class Denoiser(nn.Module):
    """(x_t, t, cond) -> Prediction.

    network: called as network(x_t, t, cond), answers in the shape of x_t; t comes as (b,) floats in the dtype of x_t
    (never below float32), real-valued, in [0, T-1].
    Raises ConfigError for eps with zero terminal SNR.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, parameterization: Parameterization):
        super().__init__()
        parameterization.check(schedule)
        self.network = network
        self.schedule = schedule
        self.parameterization = parameterization

    def output(self, x_t: Float[Tensor, "b c h w"], t: Real[Tensor, "b"], cond: Cond) -> Float[Tensor, "b c h w"]:
        """The network's own answer, in whatever parameterization it was trained, never below float32."""
        out: Tensor = self.network(x_t, t.to(at_least_float32(x_t).dtype), cond)
        return at_least_float32(out)

    def forward(self, x_t: Float[Tensor, "b c h w"], t: Real[Tensor, "b"], cond: Cond) -> Prediction:
        """x_0 and eps as the network sees them; dtype of x_t, never below float32."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return self.parameterization.prediction(self.output(x_t, t, cond), x_t, alpha, sigma)
