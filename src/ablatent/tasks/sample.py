"""Plain samples: the task that FID and the other metrics judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import UInt8

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.data.annotation_kinds import titles
from ablatent.tasks.base import Condition, Task, TaskContext
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Sample(Task):
    """N(0, I) to images, as many as samples.count, in the stages samples and scores.

    unconditional: for a model without a condition alone.
    """

    unconditional: Annotated[bool, "refuse models that have a condition"] = False

    scored: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    def check_model(self, condition: Condition, size: int) -> None:
        if self.unconditional and (got := titles(need for part in condition for need in part.needs)):
            do = "Choose conditioner=none, or task=sample."
            raise ConfigError("task", "a model without a condition", f"one of {got}", do)

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        return context.draw(prior(context.model, context.seed, index), index, context.sampler, source=source)
