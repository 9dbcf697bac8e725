"""Plain samples: the task that FID and the other metrics judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from ablatent.conditioning.source import NAMES, Source
from ablatent.core.errors import ConfigError
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Outcome, Reads, Task
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Sample(Task):
    """N(0, I) to images, as many as samples.count: the stages samples and scores do it, not `run`.

    unconditional: for a model without a condition alone.
    """

    unconditional: bool = False

    scored: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    def check_model(self, reads: Reads, size: int) -> None:
        if self.unconditional and (got := " and ".join(sorted(NAMES[p] for parts in reads.values() for p in parts))):
            do = "Choose conditioner=none, or task=sample."
            raise ConfigError("task", "a model without a condition", f"one of {got}", do)

    def image_steps(self, sampler: Sampler) -> int:
        return 0

    def draw(self, bench: Bench, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W 3"]:
        return bench.draw(prior(bench.model, bench.seed, index), index, bench.sampler, source=source)

    def run(self, bench: Bench) -> Outcome:
        raise ValueError("task=sample is done by the samples stage")
