"""Autoguidance: away from a weaker version of the model itself (Karras et al. 2024)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import AverageWidth, OneOf, StageKey, WeightsName
from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn
from ablatent.samplers.guidance import Guidance, GuidanceInputs, WeakModel, check_scale, extrapolated, required


@dataclass(frozen=True)
class AutoGuidance(Guidance):
    """x0 = x0_weak + scale (x0_model - x0_weak), and eps alike (Karras et al. 2024, eq. 3 with D_0 weak).

    Both models see the same condition, so it works without one too, and what is amplified is not the class but what
    the larger model, or the longer training, has learnt. The weak model is an earlier snapshot of the same training, or
    another one of the store: of fewer parameters, of fewer steps, or both (their section 4). Both see the same x_t at
    the same t, so that they share latents and schedule; what each network predicts may differ.

    scale: 1 is the model alone, 0 the weak one. weights: which weights of the weak model (ema, raw, ema_DECAY).
    snapshot: after so many steps; `first` or `last` of what is kept. model: the key of its diffusion stage, None for
    the sampled model itself. ema_width: of a power-function average of it, None for `weights`.
    """

    scale: Annotated[float, "1 samples the model as it is"]
    weights: Annotated[WeightsName, "of the worse model"] = "ema"
    snapshot: Annotated[
        Annotated[int, Ge(1)] | Annotated[str, OneOf(("first", "last"))], "of the worse model: after so many steps"
    ] = "first"
    model: Annotated[
        StageKey | None,
        "of a stored diffusion stage of the same latents: the worse model; null: a snapshot of this one",
    ] = None
    ema_width: Annotated[
        AverageWidth | None, "of a power-function average of the worse model; null: guidance.weights"
    ] = None

    neutral: ClassVar = {"model": None, "ema_width": None}
    neutral_scale: ClassVar[float | None] = 1
    uses_weak: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_scale(self.scale, "1 is no guidance")
        step = isinstance(self.snapshot, int) and not isinstance(self.snapshot, bool) and self.snapshot > 0
        if not step and self.snapshot not in ("first", "last"):
            raise ConfigError("guidance.snapshot", "first, last, or a step of training.snapshots", self.snapshot)

    @property
    def weak(self) -> WeakModel | None:
        return None if self.scale == 1 else WeakModel(self.weights, self.snapshot, self.ema_width, self.model)

    def network_rows(self) -> int:
        return 1 if self.scale in (0, 1) else 2

    def __call__(self, inputs: GuidanceInputs) -> DenoiseFn:
        if self.scale == 1:
            return inputs.unguided()
        got, do = (
            f"scale {self.scale:g} without one",
            "Keep one with training.snapshots, or name one by guidance.model.",
        )
        weak, strong = required(inputs.weak, "a weaker model", got, do), inputs.unguided()
        if self.scale == 0:
            return weak

        def denoise(x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]) -> Prediction:
            return extrapolated(weak(x, t), strong(x, t), torch.full_like(t, self.scale))

        return denoise
