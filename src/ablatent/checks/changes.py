"""What the checks of parameterizations and weightings share: noised images, and a network with one estimate of x_0."""

import torch
from torch import Tensor, nn

from ablatent.checks.gaussian import edm, linear, rectified_flow
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.diffusion.edm import Preconditioned
from ablatent.diffusion.flow import Flow
from ablatent.diffusion.parameterization import X0, Eps, Parameterization, V
from ablatent.diffusion.weighting import Weighting
from ablatent.schedules.base import NoiseSchedule


class Fixed(nn.Module):
    """A network whose estimate of x_0 is 0.3 x_t + 0.1 sin x_t, written in the given parameterization.

    Where the input is scaled it is the x_t of that which is used.
    """

    def __init__(self, as_written: Parameterization, s: NoiseSchedule):
        super().__init__()
        self.as_written, self.s = as_written, s

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = self.s.alpha_sigma(t)
        if self.as_written.scales_input:
            one = torch.ones_like(x_t)
            x_t = x_t / self.as_written.input(one, alpha, sigma)
        x0 = 0.3 * x_t + 0.1 * torch.sin(x_t)
        eps = (x_t - alpha[:, None, None, None] * x0) / sigma[:, None, None, None]
        return self.as_written.target(x0.double(), eps, alpha, sigma).to(x_t.dtype)


def batch(T: int = 1000, n: int = 64, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, t, eps) of n images, whose times are spread over the schedule."""
    gen = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, n, 3, 4, 4, generator=gen, dtype=torch.float64).to(dtype)
    return x0, torch.linspace(0, T - 1, n).round().long(), eps


def schedules() -> list[NoiseSchedule]:
    """The linear schedule, that with zero terminal SNR, and two that do not preserve variance, with and without."""
    return [linear(), linear(zero=True), rectified_flow(), edm()]


def defined(parameterization: Parameterization, weighting: Weighting | None = None) -> list[NoiseSchedule]:
    """Those of `schedules` that the parameterization, and the weighting, do not refuse."""
    return [s for s in schedules() if fits(s, parameterization, weighting)]


def fits(s: NoiseSchedule, parameterization: Parameterization, weighting: Weighting | None = None) -> bool:
    """Whether the parameterization, and the weighting, take the schedule."""
    try:
        parameterization.check(s)
        if weighting is not None:
            weighting.check(s, parameterization)
    except ConfigError:
        return False
    return True


def others() -> list[Parameterization]:
    """Parameterizations: those that weightings have closed forms for, and two that they do not, v before these."""
    return [Eps(), X0(), V(), Flow(), Preconditioned(0.5)]
