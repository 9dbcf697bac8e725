"""Images larger than those of the training: a convolutional network takes any size (Rombach et al. 2022, section
4.3.2 and appendix D.1), and so does a transformer whose positions are defined for any."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from jaxtyping import Float, UInt8

from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count
from ablatent.samplers.base import Sampler
from ablatent.schedules.base import is_real
from ablatent.tasks.base import Condition, FigureTask, TaskContext, TaskResult, check_counts, distances, refuse_maps
from ablatent.tasks.generate import prior


@dataclass(frozen=True)
class LargerCanvas(FigureTask):
    """Samples of another size, from x_T of that size.

    factor: by which both sides are multiplied; height, width: in pixels, in the place of the factor, or null. The
    latents' sides must be divisible as the network asks. count: samples. Measured: the mean feature distance between
    cuts of the trained size out of the canvas and plain samples, and between plain samples: equal where the canvas
    looks like the training images, place by place.
    """

    factor: Annotated[float, Ge(1), "of both sides"] = 2.0
    height: Annotated[Count | None, "in pixels, in the place of the factor"] = None
    width: Annotated[Count | None, "in pixels, in the place of the factor"] = None
    count: Annotated[Count, "images"] = 4

    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (is_real(self.factor) and self.factor > 0):
            raise ConfigError("task.factor", "a number above 0", self.factor)
        for name in ("height", "width"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"task.{name}", "a number of pixels, at least 1, or null", value)
        check_counts(self, count=2)

    def check_model(self, condition: Condition, size: int) -> None:
        refuse_maps(condition)

    def canvas(self, size: int) -> tuple[int, int]:
        return self.height or round(size * self.factor), self.width or round(size * self.factor)

    def image_steps(self, sampler: Sampler) -> int:
        return 2 * self.count * sampler.steps

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        return self._drawn(context, index, source)

    def _drawn(self, context: TaskContext, index: Sequence[int], source: Source | None) -> np.ndarray:
        _, rows, _ = context.model.latent_shape
        height, width = self.canvas(rows * context.model.first_stage.downsample)
        shape = context.model.first_stage.latent_shape(height, width)
        return context.draw(prior(context.model, context.seed, index, shape), index, context.sampler, source=source)

    def run(self, context: TaskContext) -> TaskResult:
        index = range(self.count)
        large = self._drawn(context, index, None)
        plain = context.draw(prior(context.model, context.seed, index), index, context.sampler)
        cuts = context.features(corners(large, plain.shape[1], plain.shape[2]))
        f = context.features(plain)
        scores = {"distance_of_cuts_to_samples": apart(cuts, f), "distance_among_samples": apart(f, f)}
        columns = [f"{large.shape[2]} x {large.shape[1]}"]
        note = f"Euclidean distance of features; {self.count} canvases, the four corners of each, and as many samples"
        return TaskResult(images=large, columns=columns, rows=[str(i) for i in index], scores=scores, note=note)


def apart(a: Float[np.ndarray, "m d"], b: Float[np.ndarray, "n d"]) -> float:
    """Mean Euclidean distance of row i of a to rows j of b, i and j different modulo n: those share their noise."""
    n = len(b)
    return float(np.mean([distances(a[i::n], b[[j]]) for i in range(n) for j in range(n) if i != j]))


def corners(images: UInt8[np.ndarray, "n H W C"], height: int, width: int) -> UInt8[np.ndarray, "m h w C"]:
    """The four corners of each image, (4 n, h, w, C), corner by corner; of smaller images what there is."""
    h, w = min(height, images.shape[1]), min(width, images.shape[2])
    return np.concatenate([images[:, y, x] for y in (slice(h), slice(-h, None)) for x in (slice(w), slice(-w, None))])
