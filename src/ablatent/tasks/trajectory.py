"""How samples come out of noise: the states x_t and the estimates of x_0 on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import UInt8
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.core.images import grid
from ablatent.core.types import Prediction
from ablatent.data.pixels import to_uint8
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.base import FigureTask, TaskContext, TaskResult, check_counts, distances
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class Trajectory(FigureTask):
    """Two strips a sample, both decoded: x_t after some of the steps, and the estimate of x_0 that the step started
    from. All steps are frames of an animation of the estimates.

    count: samples; points: columns, spread evenly over the steps, the last step among them. Measured: the mean feature
    distance of the estimate to the finished image at each column.
    """

    count: Annotated[Count, "images"] = 4
    points: Annotated[int, Ge(2), "columns, spread evenly over sampler.steps"] = 8

    def __post_init__(self) -> None:
        check_counts(self, count=1, points=2)

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        super().check(sampler, schedule)
        if self.points > sampler.steps:
            raise ConfigError("task.points", f"at most sampler.steps={sampler.steps}", self.points)

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * sampler.steps

    def run(self, context: TaskContext) -> TaskResult:
        states: list[list[np.ndarray]] = [[] for _ in range(context.sampler.steps)]
        estimates: list[list[np.ndarray]] = [[] for _ in states]
        times: dict[int, float] = {}

        def watch(places: Sequence[int], i: int, t: float, x_t: Tensor, prediction: Prediction) -> Tensor:
            for kept, z in ((states, x_t), (estimates, prediction.x0)):
                kept[i].append(to_uint8(context.model.decode(z).float().cpu().numpy()))
            times[i] = t
            return x_t

        index = range(self.count)
        finished = context.draw(prior(context.model, context.seed, index), index, context.sampler, watch)
        x_t, x0 = ([np.concatenate(batches) for batches in kept] for kept in (states, estimates))
        shown = np.linspace(0, context.sampler.steps - 1, self.points).round().astype(int).tolist()
        last = context.features(finished)
        scores = {
            f"distance_after_{i + 1}_of_{context.sampler.steps}_steps": float(
                distances(context.features(x0[i]), last).mean()
            )
            for i in shown[:-1]
        }
        strips = [np.stack([kept[i][k] for i in shown]) for k in index for kept in (x_t, x0)]
        return TaskResult(
            images=np.concatenate(strips),
            columns=[f"t = {times[i]:.0f}" if times[i] >= 0 else "end" for i in shown],
            rows=[f"{k} {name}" for k in index for name in ("x_t", "x_0")],
            scores=scores,
            note=f"Euclidean distance of features to the finished image, mean over {self.count} samples",
            frames=[self._frame(images) for images in x0],
        )

    def _frame(self, images: UInt8[np.ndarray, "n H W C"]) -> UInt8[np.ndarray, "H2 W2 C"]:
        return grid(images, columns=self.count, scale=max(1, 128 // images.shape[1]))
