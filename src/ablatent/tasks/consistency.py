"""One noise, several numbers of steps (Song et al. 2021, "Denoising Diffusion Implicit Models", section 5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Len

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.base import FigureTask, TaskContext, TaskResult, check_counts, distances
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Consistency(FigureTask):
    """The same x_T through the sampler at each number of steps: a deterministic one should give the same image.

    steps: ascending; count: samples. sampler.steps is not used. Measured: the mean feature distance of each to the
    image of the last number, and that of two different samples to compare with.
    """

    steps: Annotated[Sequence[Count], Len(1), "of the sampler, a row each"] = (10, 20, 50, 100, 1000)
    count: Annotated[Count, "images a row"] = 8

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        if len(steps) < 2 or any(b <= a for a, b in pairwise(steps)) or steps[0] < 1:
            raise ConfigError("task.steps", "two or more numbers of steps, ascending", list(steps))
        check_counts(self, count=2)
        object.__setattr__(self, "steps", steps)

    def samplers(self, sampler: Sampler) -> Sequence[Sampler]:
        return [replace(sampler, steps=steps) for steps in self.steps]

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        if self.steps[-1] > schedule.T:
            raise ConfigError("task.steps", f"numbers of steps up to schedule.T={schedule.T}", list(self.steps))
        for used in self.samplers(sampler):
            used.check(schedule)

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * sum(self.steps)

    def run(self, context: TaskContext) -> TaskResult:
        index = range(self.count)
        x_T = prior(context.model, context.seed, index)
        sets = [context.draw(x_T, index, sampler) for sampler in self.samplers(context.sampler)]
        features = [context.features(images) for images in sets]
        last = features[-1]
        scores = {
            f"distance_{s}_to_{self.steps[-1]}_steps": float(distances(f, last).mean())
            for s, f in zip(self.steps[:-1], features[:-1], strict=True)
        }
        scores["distance_of_other_samples"] = float(distances(last, np.roll(last, 1, axis=0)).mean())
        images = np.stack(sets, axis=1).reshape(-1, *sets[0].shape[1:])
        return TaskResult(
            images=images,
            columns=[f"S = {s}" for s in self.steps],
            rows=[f"x_T {i}" for i in index],
            scores=scores,
            note=f"Euclidean distance of features, mean over {self.count} samples",
        )
