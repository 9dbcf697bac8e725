"""How a conditional denoiser is steered: from (denoiser, condition) to the function that a sampler calls.

x_t = alpha x_0 + sigma eps holds for each prediction, hence for any combination of predictions whose weights add up
to 1. So x_0 and eps are combined with the same weights and stay consistent, whatever the parameterization.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.types import Cond, Prediction
from ablatent.samplers.base import DenoiseFn
from ablatent.schedules.base import is_real

ConditionalDenoiser = Callable[[Tensor, Tensor, Cond], Prediction]
"""(x_t, t, cond) -> Prediction: diffusion.Denoiser, for one."""


@dataclass(frozen=True)
class Guidance(ABC):
    """Makes the sampler's denoise function. needs_null: whether it asks for the null condition."""

    @property
    @abstractmethod
    def needs_null(self) -> bool:
        """Whether a call needs the unconditional Cond (so the model must have been trained with dropout)."""

    @abstractmethod
    def __call__(self, denoiser: ConditionalDenoiser, cond: Cond, null: Cond | None = None) -> DenoiseFn:
        """cond, null: one row a sample."""

    def network_rows(self) -> int:
        """Rows of the network's batch per sample: the cost of one denoiser call."""
        return 1


@dataclass(frozen=True)
class NoGuidance(Guidance):
    """The conditional prediction as it is."""

    needs_null: ClassVar[bool] = False

    def __call__(self, denoiser: ConditionalDenoiser, cond: Cond, null: Cond | None = None) -> DenoiseFn:
        return lambda x, t: denoiser(x, t, cond)


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """eps = eps_null + scale (eps_cond - eps_null), in one batched network call (Ho & Salimans 2022).

    scale: 1 is the conditional model and 0 the unconditional one, each by a single call; w of Ho & Salimans is
    scale - 1, the s of LDM's tables is this one. interval: [lowest t, highest t] in which to guide, elsewhere the
    conditional prediction is used (Kynkäänniemi et al. 2024); null guides everywhere.
    """

    scale: float
    interval: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not (is_real(self.scale) and self.scale >= 0):
            raise ConfigError("guidance.scale", "a finite number of at least 0 (1 is no guidance)", self.scale)
        if self.interval is not None:
            interval = tuple(self.interval)
            if len(interval) != 2 or not all(map(is_real, interval)) or interval[0] > interval[1]:
                raise ConfigError("guidance.interval", "[lowest t, highest t], or null", list(interval))
            object.__setattr__(self, "interval", interval)  # hashable, and no longer the config's own list

    @property
    def needs_null(self) -> bool:
        return self.scale != 1

    def network_rows(self) -> int:
        return 1 if self.scale in (0, 1) and self.interval is None else 2

    def __call__(self, denoiser: ConditionalDenoiser, cond: Cond, null: Cond | None = None) -> DenoiseFn:
        if self.scale == 1:
            return lambda x, t: denoiser(x, t, cond)
        if null is None:
            raise ConfigError(
                "guidance",
                "a conditioner with a null condition",
                f"scale {self.scale:g} without one",
                "Choose a conditioner, or guidance=none.",
            )
        if self.scale == 0 and self.interval is None:
            return lambda x, t: denoiser(x, t, null)
        both = Cond.cat([cond, null])

        def denoise(x: Float[Tensor, "b c h w"], t: Float[Tensor, "b"]) -> Prediction:
            scale = torch.full_like(t, self.scale)
            if self.interval is not None:
                inside = (t >= self.interval[0]) & (t <= self.interval[1])
                if not bool(inside.any()):
                    return denoiser(x, t, cond)
                scale = torch.where(inside, scale, 1.0)
            with_cond, without = self._both(denoiser, x, t, both)
            weight = rearrange(scale, "b -> b 1 1 1").to(with_cond.eps.dtype)
            return Prediction(
                x0=torch.lerp(without.x0, with_cond.x0, weight),
                eps=torch.lerp(without.eps, with_cond.eps, weight),
                log_variance=with_cond.log_variance,
            )

        return denoise

    def _both(self, denoiser: ConditionalDenoiser, x: Tensor, t: Tensor, both: Cond) -> tuple[Prediction, Prediction]:
        """The predictions with and without the condition, by one call of twice the batch."""
        p = denoiser(repeat(x, "b c h w -> (two b) c h w", two=2), repeat(t, "b -> (two b)", two=2), both)
        n = x.shape[0]
        first, second = (
            Prediction(p.x0[rows], p.eps[rows], None if p.log_variance is None else p.log_variance[rows])
            for rows in (slice(0, n), slice(n, None))
        )
        return first, second
