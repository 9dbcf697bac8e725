"""From an image, not from noise (Meng et al. 2022, "SDEdit")."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Le
from jaxtyping import UInt8

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule, is_real
from ablatent.tasks.base import FigureTask, TaskContext, TaskResult, check_counts, distances
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Img2Img(FigureTask):
    """Noise images up to a time, and denoise them from there.

    strength: share of the T times that is noised and denoised, in (0, 1]; 1 keeps (almost) nothing of the image. The
    sampler spends all its steps on that share: what sampler.start does, from q_sample of the image in place of N(0, I).
    count: validation images. Measured: the mean feature distance to the image, and to another image to compare with.
    """

    strength: Annotated[float, Gt(0), Le(1), "share of the times that is run through"] = 0.6
    count: Annotated[Count, "images"] = 8

    needs_images: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    start_key: ClassVar[str | None] = "task.strength"

    def __post_init__(self) -> None:
        if not (is_real(self.strength) and 0 < self.strength <= 1):
            raise ConfigError("task.strength", "a number above 0 and up to 1", self.strength)
        check_counts(self, count=2)

    def samplers(self, sampler: Sampler) -> Sequence[Sampler]:
        return (replace(sampler, start=self.strength),)

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        for used in self.samplers(sampler):
            used.check(schedule)

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * sampler.steps

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        if source.pixels is None:
            raise ConfigError("image", "the image to start from", None, "Give it by image=FILE.")
        return self._drawn(context, np.asarray(source.pixels), index, source)

    def _drawn(
        self, context: TaskContext, images: np.ndarray, index: Sequence[int], source: Source | None
    ) -> np.ndarray:
        (sampler,), schedule = self.samplers(context.sampler), context.model.denoiser.schedule
        z = context.model.encode(images)
        t = torch.full((len(z),), float(sampler.times(schedule)[0]), dtype=torch.float64, device=z.device)
        x = schedule.q_sample(z, t, prior(context.model, context.seed, index))
        return context.draw(x, index, sampler, source=source, noised=True)

    def run(self, context: TaskContext) -> TaskResult:
        source = context.first(self.count)
        images = np.asarray(source.pixels)
        drawn = self._drawn(context, images, range(source.n), None)
        before, after = context.features(images), context.features(drawn)
        scores = {
            "distance_to_source": float(distances(before, after).mean()),
            "distance_to_other_images": float(distances(np.roll(before, 1, axis=0), after).mean()),
        }
        note = f"Euclidean distance of features, mean over {source.n} images"
        both = np.stack([images, drawn], axis=1).reshape(-1, *images.shape[1:])
        return TaskResult(
            images=both,
            columns=["image", f"strength {self.strength:g}"],
            rows=[str(i) for i in range(source.n)],
            scores=scores,
            note=note,
        )
