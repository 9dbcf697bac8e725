"""What every training has in its configuration: its length, its batches, its learning rate; and where it computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, ClassVar, Literal

from ablatent.core.errors import ConfigError
from ablatent.core.fields import AverageWidth, Count, Fields, Positive, Precision, Probability, Whole


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
class EMAOptions(Fields):
    """The fields of `training.ema`: arguments of `EMAs`."""

    decay: Annotated[Probability, "of the average of the weights"]
    warmup: Annotated[bool, "use min(decay, (1 + step) / (10 + step)), so that the first weights are soon forgotten"]
    extra_decays: Annotated[Sequence[Probability], "each an average of its own, sampled by samples.weights=ema_DECAY"]
    power_widths: Annotated[
        Sequence[AverageWidth], "of power-function averages, which samples.ema_width combines to any other width"
    ] = ()
    power_snapshots: Annotated[
        Count, "how often each of them is kept, at even distances, beside training.snapshots"
    ] = 16


@dataclass(frozen=True, kw_only=True)
class Training(Fields):
    """What every training has in its configuration; subclasses add fields of their own.

    steps: of the optimiser; batch_size: samples of a step, over all devices; warmup_steps, decay: of the learning rate,
    see `learning_rate`; clip: largest gradient norm, None for any; validate_every: steps from one validation to the
    next; precision: of Lightning's trainer. key: where these stand in the configuration.
    Raises ConfigError for numbers that are no positive integers, and for an unknown decay.
    """

    steps: Annotated[Count, "of the optimiser"]
    batch_size: Annotated[Count, "samples of a step, over all devices"]
    warmup_steps: Annotated[Whole, "over which the learning rate rises"]
    decay: Annotated[Literal["none", "linear", "cosine"], "of the learning rate after the warm-up, to zero"]
    clip: Annotated[Positive | None, "largest gradient norm; null: no clipping"]
    validate_every: Annotated[Count, "steps from one validation to the next"]
    precision: Annotated[Precision, "how the training computes"]

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


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a stage computes; precision apart, nothing here changes what it computes beyond rounding (and
    which units a dropout leaves out: each part of a batch draws its own).

    device: cpu or gpu; devices: processes that train together, by strategy ddp or fsdp; grad_accum_steps: micro-batches
    of an optimiser step on each; precision: 32-true, bf16-mixed or 16-mixed; compile, compile_mode: whether networks go
    through torch.compile, and how (see `compiling`); batch_size: images at once where nothing is trained;
    checkpoint_seconds: from one checkpoint to the next.
    """

    device: str = "cpu"
    devices: int = 1
    strategy: str = "ddp"
    grad_accum_steps: int = 1
    precision: str = "32-true"
    compile: bool = False
    compile_mode: str = "network"
    batch_size: int = 64
    checkpoint_seconds: float = 10.0
