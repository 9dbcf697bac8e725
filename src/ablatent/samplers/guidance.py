"""How a conditional denoiser is steered: from (denoiser, condition) to the function that a sampler calls.

x_t = alpha x_0 + sigma eps holds for each prediction, hence for any combination of predictions whose weights add up
to 1. So x_0 and eps are combined with the same weights and stay consistent, whatever the parameterization.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from annotated_types import Len
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import OneOf
from ablatent.core.types import Cond, Prediction
from ablatent.samplers.base import DenoiseFn, Sampler
from ablatent.schedules.base import NoiseSchedule, is_real

if TYPE_CHECKING:

    class ConditionalDenoiser(Protocol):
        """(x_t, t, cond) -> Prediction, and the schedule whose times t are: diffusion.Denoiser, for one."""

        @property
        def schedule(self) -> NoiseSchedule:
            """The schedule whose times t are."""

        def __call__(self, x_t: Tensor, t: Tensor, cond: Cond, /) -> Prediction: ...

else:  # a run-time Protocol does not see the submodules of an nn.Module
    ConditionalDenoiser = Callable[[Tensor, Tensor, Cond], Prediction]

GradientFn = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, h, w), t (b,)) -> gradient of log p(y | x_t) by x_t (b, c, h, w). The labels y are already inside."""

UNITS = ("t", "sigma")

T = TypeVar("T")


class WeakModel(NamedTuple):
    """Which model a guidance leads away from.

    weights, snapshot: raw, ema or ema_DECAY after so many steps, or at `first` or `last` of what is kept; ema_width: of
    a power-function average in their place. model: the key of a diffusion stage; None for the sampled model itself.
    """

    weights: str
    snapshot: int | str
    ema_width: float | None = None
    model: str | None = None


@dataclass(frozen=True)
class GuidanceInputs:
    """What a guidance may combine, for one batch of samples; None for what it does not ask for.

    cond, null: the condition and the null condition, one row a sample. weak: a weaker model, with its own embedding of
    the condition inside (its conditioner was trained no longer than its network). classifier: the gradient of a
    classifier of noisy latents, with the labels inside.
    """

    denoiser: ConditionalDenoiser
    cond: Cond
    null: Cond | None = None
    weak: DenoiseFn | None = None
    classifier: GradientFn | None = None

    def unguided(self) -> DenoiseFn:
        """The denoiser with the condition inside."""
        return unguided(self.denoiser, self.cond)


@dataclass(frozen=True)
class Guidance(ABC):
    """Makes the sampler's denoise function, and says what it needs for that beside the denoiser and the condition.

    Declared, as literals that planning reads from the source: neutral_scale: the `scale` at which it is no guidance,
    None where it always guides; guides: whether it does anything at all; uses_null: it combines predictions with and
    without the condition, so that the model must have learned both; uses_weak: it needs a weaker model,
    by fields named as those of `WeakModel`; needs_stages: kinds of stages that a guided job has besides, for example
    ("noisy_classifier",); reads: annotations that its samples are conditioned on by the guidance itself.
    """

    neutral_scale: ClassVar[float | None] = None
    guides: ClassVar[bool] = True
    uses_null: ClassVar[bool] = False
    uses_weak: ClassVar[bool] = False
    needs_stages: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()

    @property
    def needs_null(self) -> bool:
        """Whether a call needs the unconditional Cond (so the model must have been trained with dropout)."""
        return False

    @property
    def weak(self) -> WeakModel | None:
        """The weaker model that a call needs, or None."""
        return None

    @property
    def needs_weak(self) -> bool:
        """Whether a call needs a weaker model."""
        return self.weak is not None

    @property
    def needs_classifier(self) -> bool:
        """Whether a call needs the gradient of a classifier of noisy latents."""
        return False

    @abstractmethod
    def __call__(self, inputs: GuidanceInputs) -> DenoiseFn:
        """The sampler's denoise function for one batch. Raises ConfigError where an input that it needs is None."""

    def network_rows(self) -> int:
        """Rows of denoising networks per sample: the cost of one call (a classifier's gradient is not counted)."""
        return 1

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        """Raise ConfigError where it guides at none of the times of a sampler."""
        return


@dataclass(frozen=True)
class NoGuidance(Guidance):
    """The conditional prediction as it is."""

    guides: ClassVar[bool] = False

    def __call__(self, inputs: GuidanceInputs) -> DenoiseFn:
        return inputs.unguided()


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """eps = eps_null + scale (eps_cond - eps_null), in one batched network call (Ho & Salimans 2022).

    scale: 1 is the conditional model and 0 the unconditional one, each by a single call; w of Ho & Salimans is
    scale - 1, the s of LDM's tables is this one. interval: [lowest, highest] in which to guide, elsewhere the
    conditional prediction is used (Kynkäänniemi et al. 2024); null guides everywhere. unit: of the interval, t (times
    0 … T-1) or sigma (their noise level, sigma / alpha here: noise per signal, the same for every schedule).
    """

    scale: Annotated[float, "1 + w of Ho and Salimans 2022: 1 samples the model as it is"]
    interval: Annotated[
        Annotated[Sequence[float], Len(2, 2)] | None,
        "[lowest, highest] unit in which the prediction is guided; null: everywhere",
    ] = None
    unit: Annotated[str, OneOf(("t", "sigma")), "of the interval: times, or sigma / alpha"] = "t"

    neutral_scale: ClassVar[float | None] = 1
    uses_null: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_scale(self.scale, "1 is no guidance")
        if self.unit not in UNITS:
            raise ConfigError("guidance.unit", "t or sigma", self.unit)
        if self.interval is not None:
            interval = check_interval(self.interval, self.unit)
            object.__setattr__(self, "interval", interval)  # hashable, and no longer the config's own list

    @property
    def needs_null(self) -> bool:
        return self.scale != 1

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        if self.interval is None or self.scale == 1:
            return
        times = torch.from_numpy(sampler.times(schedule)[:-1])
        if not bool(self._inside(schedule, times).any()):
            alpha, sigma = schedule.alpha_sigma(times)
            levels = (times if self.unit == "t" else sigma / alpha).tolist()
            expected = f"an interval, in units of guidance.unit={self.unit}, that has one of the sampler's steps in it"
            got = f"{list(self.interval)}; the steps are at {', '.join(f'{level:g}' for level in levels[:8])}"
            raise ConfigError("guidance.interval", expected, got + (" …" if len(levels) > 8 else ""))

    def network_rows(self) -> int:
        """Of a call inside the interval; outside it is 1."""
        return 1 if self.scale == 1 or (self.scale == 0 and self.interval is None) else 2

    def __call__(self, inputs: GuidanceInputs) -> DenoiseFn:
        if self.scale == 1:
            return inputs.unguided()
        denoiser, cond = inputs.denoiser, inputs.cond
        null = required(
            inputs.null,
            "a conditioner with a null condition",
            f"scale {self.scale:g} without one",
            "Choose a conditioner, or guidance=none.",
        )
        if self.scale == 0 and self.interval is None:
            return unguided(denoiser, null)
        both = Cond.cat([cond, null])

        def denoise(x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]) -> Prediction:
            scale = torch.full_like(t, self.scale)
            if self.interval is not None:
                inside = self._inside(denoiser.schedule, t)
                if not bool(inside.any()):
                    return denoiser(x, t, cond)
                scale = torch.where(inside, scale, 1.0)
            with_cond, without = self._both(denoiser, x, t, both)
            return self.finish(extrapolated(without, with_cond, scale), with_cond, x, t, denoiser.schedule)

        return denoise

    def finish(
        self, guided: Prediction, with_cond: Prediction, x: Tensor, t: Tensor, schedule: NoiseSchedule
    ) -> Prediction:
        """What subclasses change: the guided prediction, with the conditional one beside it."""
        return guided

    def _inside(self, schedule: NoiseSchedule, t: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        low, high = self.interval or (-torch.inf, torch.inf)
        if self.unit == "t":
            return (t >= low) & (t <= high)
        alpha, sigma = schedule.alpha_sigma(t)
        return (sigma >= low * alpha) & (sigma <= high * alpha)

    def _both(self, denoiser: ConditionalDenoiser, x: Tensor, t: Tensor, both: Cond) -> tuple[Prediction, Prediction]:
        """The predictions with and without the condition, by one call of twice the batch."""
        p = denoiser(repeat(x, "b c h w -> (two b) c h w", two=2), repeat(t, "b -> (two b)", two=2), both)
        n = x.shape[0]
        first, second = (
            Prediction(p.x0[rows], p.eps[rows], None if p.variance_fraction is None else p.variance_fraction[rows])
            for rows in (slice(0, n), slice(n, None))
        )
        return first, second


def check_interval(interval: object, unit: str) -> tuple[float, float]:
    """The interval as a pair. Raise ConfigError unless it is two finite numbers, the smaller one first."""
    pair = tuple(interval) if isinstance(interval, list | tuple) else ()
    if len(pair) != 2 or not all(map(is_real, pair)) or pair[0] > pair[1]:
        raise ConfigError("guidance.interval", f"[lowest {unit}, highest], or null", interval)
    return pair


def check_scale(scale: object, meaning: str) -> None:
    """Raise ConfigError unless the scale is a finite number of at least 0."""
    if not (is_real(scale) and scale >= 0):  # type: ignore[operator]
        raise ConfigError("guidance.scale", f"a finite number of at least 0 ({meaning})", scale)


def required(value: T | None, expected: str, got: str, do: str = "") -> T:
    """An input that a guidance cannot do without. Raises ConfigError of key `guidance` where it is None."""
    if value is None:
        raise ConfigError("guidance", expected, got, do)
    return value


def unguided(denoiser: ConditionalDenoiser, cond: Cond) -> DenoiseFn:
    """The denoiser with the condition inside."""
    return lambda x, t: denoiser(x, t, cond)


def extrapolated(base: Prediction, better: Prediction, scale: Float[Tensor, " b"]) -> Prediction:
    """base + scale (better - base), each row by its own scale; exactly `better` at 1. The variance is that of `better`.

    The weights of the two predictions add up to 1, so that x_0 and eps stay consistent.
    """
    weight = rearrange(scale, "b -> b 1 1 1").to(better.eps.dtype)
    return Prediction(
        x0=torch.lerp(base.x0, better.x0, weight),
        eps=torch.lerp(base.eps, better.eps, weight),
        variance_fraction=better.variance_fraction,
    )
