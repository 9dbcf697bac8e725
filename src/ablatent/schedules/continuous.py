"""Schedules whose levels follow from a formula, at any real time: flow matching, EDM."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Real
from torch import Tensor

from ablatent.schedules.base import CLEAN, NoiseSchedule, check_steps_of_time


class ContinuousSchedule(NoiseSchedule):
    """T sets the scale of the times alone, that of the embeddings of networks and of the grids of samplers.

    Training draws real times from 0 to T-1; between 0 and the clean state at -1 samplers take their last step.
    """

    continuous: ClassVar[bool] = True

    def __init__(self, T: int):
        super().__init__()
        self.T = check_steps_of_time(T, least=2)

    @abstractmethod
    def _levels(self, t: Float64[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        """alpha and sigma at times in [-1, T-1]."""

    def alpha_sigma(self, t: Real[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        t = t.to(torch.float64)
        outside = ~((t >= CLEAN) & (t <= self.T - 1))
        inside = t.new_zeros(1)[outside.long()]  # an index error outside, on CUDA without waiting for it
        return self._levels(t + inside)

    def time_at(self, share: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
        return share.to(torch.float64) * (self.T - 1)
