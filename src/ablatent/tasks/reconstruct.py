"""The first stage alone: validation images through it and back, scored."""

from dataclasses import dataclass
from typing import ClassVar

from ablatent.tasks.base import Task


@dataclass(frozen=True)
class Reconstruct(Task):
    """Trains a first stage and scores its reconstructions; the job has no diffusion model."""

    uses_model: ClassVar[bool] = False
