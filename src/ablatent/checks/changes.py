"""What the checks of parameterizations and weightings share: noised images, and a network with one estimate of x_0."""

import torch
from torch import Tensor, nn

from ablatent.checks.gaussian import linear
from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond
from ablatent.diffusion.parameterization import X0, Eps, Parameterization, V
from ablatent.schedules.base import NoiseSchedule


class Fixed(nn.Module):
    """A network whose estimate of x_0 is 0.3 x_t + 0.1 sin x_t, written in the given parameterization."""

    def __init__(self, as_written: Parameterization, s: NoiseSchedule):
        super().__init__()
        self.as_written, self.s = as_written, s

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond) -> Tensor:
        x0 = 0.3 * x_t + 0.1 * torch.sin(x_t)
        alpha, sigma = self.s.alpha_sigma(t)
        eps = (x_t - alpha[:, None, None, None] * x0) / sigma[:, None, None, None]
        return self.as_written.target(x0.double(), eps, alpha, sigma).to(x_t.dtype)


def batch(T: int = 1000, n: int = 64, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, t, eps) of n images, whose times are spread over the schedule."""
    gen = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, n, 3, 4, 4, generator=gen, dtype=torch.float64).to(dtype)
    return x0, torch.linspace(0, T - 1, n).round().long(), eps


def schedules(parameterization: Parameterization) -> list[NoiseSchedule]:
    """The linear schedule, and that with zero terminal SNR unless the parameterization refuses it."""
    plain, zero = linear(), linear(zero=True)
    try:
        parameterization.check(zero)
    except ConfigError:
        return [plain]
    return [plain, zero]


def others() -> list[Parameterization]:
    """The parameterizations that weightings have closed forms for."""
    return [Eps(), X0(), V()]
