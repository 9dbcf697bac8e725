"""Plain samples: the task that FID and the other metrics judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from ablatent.conditioning.source import Source
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Outcome, Task
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Sample(Task):
    """N(0, I) to images, as many as samples.count: the stages samples and scores do it, not `run`."""

    scored: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    def image_steps(self, sampler: Sampler) -> int:
        return 0

    def draw(self, bench: Bench, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W 3"]:
        return bench.draw(prior(bench.model, bench.seed, index), index, bench.sampler, source=source)

    def run(self, bench: Bench) -> Outcome:
        raise ValueError("task=sample is done by the samples stage")
