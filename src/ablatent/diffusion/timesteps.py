"""Which timesteps a training batch looks at. The loss stays an estimate of the mean over all, whichever; those of
densities.py weigh it instead.

Each turns uniform numbers, drawn outside as functions of (seed, step, sample), into times and the weights of their
losses. What one remembers is in its state dict, so that a resumed training goes on with the same times.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.diffusion.compatibility import check_whole_times
from ablatent.schedules.base import NoiseSchedule, is_real


class TimestepSampler(nn.Module, ABC):
    """Uniform numbers -> timesteps of the schedule and the weights of their losses.

    Raises ConfigError for a schedule of real times where the class is `discrete_only`.
    """

    discrete_only: ClassVar[bool] = False
    """Whether it needs whole times; planning reads it from the source."""

    keeps_mean: ClassVar[bool] = True
    """Whether the weighted mean of a loss is its mean over all times. If not, the density of the times weighs it."""

    def __init__(self, schedule: NoiseSchedule):
        super().__init__()
        check_whole_times("timestep_sampler", type(self).__name__, self.discrete_only, schedule.continuous)
        self.schedule = schedule

    @abstractmethod
    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        """u: float64 numbers in [0, 1), one a row. Returns times in [0, T-1], whole (int64) or real (float64) as the
        schedule has them, and the weights of their losses."""

    def update(self, t: Real[Tensor, " b"], loss: Float[Tensor, " b"]) -> None:
        """Called after each step with the times and the unweighted losses of the whole batch, a row a sample."""


class Uniform(TimestepSampler):
    """Each time equally often (Ho et al. 2020, algorithm 1)."""

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        return self.schedule.time_at(u), torch.ones_like(u)


class Stratified(TimestepSampler):
    """Row k draws from the k-th of b equal parts of the times: every batch sees all noise levels, so that its mean loss
    varies less (low-discrepancy sampling, after Kingma et al. 2021, appendix I.1)."""

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Real[Tensor, " b"], Float[Tensor, " b"]]:
        places = (torch.arange(len(u), dtype=u.dtype, device=u.device) + u) / len(u)
        return self.schedule.time_at(places), torch.ones_like(u)


class Importance(TimestepSampler):
    """p_t in proportion to sqrt(E[L_t²]) over the last losses of each time, weights 1 / (T p_t)
    (Nichol & Dhariwal 2021, eq. 18).

    history: losses remembered a time; uniform until each time has so many. uniform: share of p that stays uniform.
    """

    discrete_only = True

    losses: Tensor
    counts: Tensor

    def __init__(
        self,
        schedule: NoiseSchedule,
        history: Annotated[Count, "losses remembered a time; times are uniform until each has so many"],
        uniform: Annotated[float, Gt(0), Le(1), "share of the probability that stays uniform"],
    ):
        super().__init__(schedule)
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise ConfigError("timestep_sampler.history", "an integer of at least 1 (the paper: 10)", history)
        if not (is_real(uniform) and 0 < uniform <= 1):
            raise ConfigError("timestep_sampler.uniform", "a share above 0 and up to 1 (the paper: 0.001)", uniform)
        self.T, self.history, self.uniform = schedule.T, history, uniform
        self.register_buffer("losses", torch.zeros(self.T, history, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(self.T, dtype=torch.int64))

    def probabilities(self) -> Float[Tensor, " T"]:
        """p_t, float64, adding up to 1."""
        even = torch.full_like(self.losses[:, 0], 1.0 / self.T)
        root = self.losses.square().mean(dim=1).sqrt()
        total = root.sum()
        known = (self.counts >= self.history).all() & (total > 0)  # stays on the device: no step waits for it
        return torch.where(known, torch.lerp(root / total, even, self.uniform), even)

    def forward(self, u: Float[Tensor, " b"]) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
        p = self.probabilities()
        edges = p.cumsum(0)
        t = torch.searchsorted(edges, u.to(p.dtype) * edges[-1], right=True).clamp(max=self.T - 1)
        return t, 1.0 / (self.T * p[t])

    @torch.no_grad()
    def update(self, t: Int[Tensor, " b"], loss: Float[Tensor, " b"]) -> None:
        # A time may stand several times in a batch: its losses go to one place after the other, in the batch's order.
        same = t[:, None] == t[None, :]
        place = (self.counts[t] + same.tril(-1).sum(dim=1)) % self.history
        # Where even these are more than `history`, the last loss of a place is written by all of them.
        last = (same & (place[:, None] == place[None, :])).long() * torch.arange(1, len(t) + 1, device=t.device)
        self.losses[t, place] = loss.double()[last.amax(dim=1) - 1]
        self.counts.index_add_(0, t, torch.ones_like(t))
