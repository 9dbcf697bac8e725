"""What every training has in its configuration: its length, its batches, its learning rate."""

from dataclasses import dataclass
from math import cos, pi
from typing import ClassVar

from ablatent.core.errors import ConfigError


def learning_rate(step: int, base: float, steps: int, warmup: int, decay: str) -> float:
    """Of step `step` (0 for the first): linear warm-up to `base` over `warmup` steps, then constant (decay none), or to
    zero at `steps` (cosine, linear). Raises ConfigError for another decay."""
    if step < warmup:
        return base * (step + 1) / warmup
    left = 1 - (step - warmup) / max(steps - warmup, 1)
    factors = {"none": 1.0, "linear": left, "cosine": 0.5 - 0.5 * cos(pi * left)}
    if decay not in factors:
        raise ConfigError("decay", "none, cosine or linear", decay)
    return base * factors[decay]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training has in its configuration; subclasses add fields of their own.

    steps: of the optimiser; batch_size: samples of a step, over all devices; warmup_steps, decay: of the learning rate,
    see `learning_rate`; clip: largest gradient norm, None for any; validate_every: steps from one validation to the
    next; precision: of Lightning's trainer. key: where these stand in the configuration.
    Raises ConfigError for numbers that are no positive integers, and for an unknown decay.
    """

    steps: int
    batch_size: int
    warmup_steps: int
    decay: str
    clip: float | None
    validate_every: int
    precision: str

    key: ClassVar[str]

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{self.key}.{name}", "an integer of at least 1", value)
        learning_rate(0, 1.0, self.steps, 0, self.decay)

    def learning_rate(self, step: int, base: float) -> float:
        """Of step `step` (0 for the first), for an optimiser whose own rate is `base`."""
        return learning_rate(step, base, self.steps, self.warmup_steps, self.decay)
