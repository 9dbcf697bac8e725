"""Plain samples: the task that FID and the other metrics judge."""

from dataclasses import dataclass
from typing import ClassVar

from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Outcome, Task


@dataclass(frozen=True)
class Sample(Task):
    """N(0, I) to images, as many as samples.count: the stages samples and scores do it, not `run`."""

    scored: ClassVar[bool] = True

    def image_steps(self, sampler: Sampler) -> int:
        return 0

    def run(self, bench: Bench) -> Outcome:
        raise ValueError("task=sample is done by the samples stage")
