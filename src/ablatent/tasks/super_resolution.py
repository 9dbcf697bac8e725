"""Small images enlarged (Rombach et al. 2022, section 4.4)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ablatent.conditioning.base import Rows
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.data.annotation_kinds import IMAGES
from ablatent.tasks.base import Restoration, TaskContext
from ablatent.tasks.conditional import Conditional
from ablatent.tasks.conditions import enlarged


@dataclass(frozen=True)
class SuperResolution(Conditional):
    """Validation images made small and enlarged: scored against the images themselves, beside bicubic enlargement.

    Each image counts once in scores of sets, however many samples it has.
    """

    reads: str = IMAGES.name

    neutral: ClassVar = {"reads": "pixels"}

    restores: ClassVar[bool] = True

    def check_reads(self) -> None:
        if self.reads != IMAGES.name:
            raise ConfigError("task.reads", f"{IMAGES.name}: this task enlarges images", self.reads)

    def restoration(self, context: TaskContext, drawn: np.ndarray, given: Rows, source: Source) -> Restoration | None:
        truth = np.repeat(np.asarray(source.pixels), self.samples_per_image, axis=0)
        baseline = enlarged(given, (truth.shape[1], truth.shape[2]))
        degradation = context.model.conditioner.degradation()
        return Restoration(
            restored=drawn,
            truth=truth,
            baseline=baseline,
            baseline_name="bicubic",
            baseline_label="of bicubic enlargement",
            samples_per_image=self.samples_per_image,
            degradation=degradation,
        )
