"""The first stage alone: validation images through it and back, scored."""

from dataclasses import dataclass

from ablatent.samplers.base import Sampler
from ablatent.tasks.base import Bench, Outcome, Task


@dataclass(frozen=True)
class Reconstruct(Task):
    """Trains and scores a first stage and nothing else: the stage reconstruction does it, not `run`."""

    def image_steps(self, sampler: Sampler) -> int:
        return 0

    def run(self, bench: Bench) -> Outcome:
        raise ValueError("task=reconstruct is done by the reconstruction stage")
