"""Between two noises (Song et al. 2021, "Denoising Diffusion Implicit Models", section 5.3)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from ablatent.core.fields import Count
from ablatent.samplers.base import Sampler
from ablatent.tasks.base import FigureTask, TaskContext, TaskResult, check_counts, distances
from ablatent.tasks.generate import prior


def slerp(
    a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"], w: Float[Tensor, " k"]
) -> Float[Tensor, "n k c h w"]:
    """Spherical interpolation at weights w in [0, 1]: 0 gives a, 1 gives b (Song et al. 2021, eq. 67; Shoemake 1985).

    In float64 inside. A straight line would pass through points of smaller norm than N(0, I) has. (Nearly) parallel
    vectors are interpolated linearly.
    """
    x, y = a.double(), b.double()
    product = reduce(x * y, "n c h w -> n", "sum")
    norms = torch.linalg.vector_norm(x.flatten(1), dim=1) * torch.linalg.vector_norm(y.flatten(1), dim=1)
    angle = torch.acos((product / norms).clamp(-1, 1))[:, None]
    weight = w.double()[None]
    line = torch.sin(angle) < 1e-6
    safe = torch.where(line, torch.ones_like(angle), torch.sin(angle))
    first = torch.where(line, 1 - weight, torch.sin((1 - weight) * angle) / safe)
    second = torch.where(line, weight.expand_as(first), torch.sin(weight * angle) / safe)
    first, second = (rearrange(v, "n k -> n k 1 1 1") for v in (first, second))
    return (first * x[:, None] + second * y[:, None]).to(a.dtype)


@dataclass(frozen=True)
class Interpolate(FigureTask):
    """Strips of images whose x_T lies on the arc between those of two samples.

    pairs: number of strips; points: images a strip, ends included. A strip has one label and, under a stochastic
    sampler, one step noise. Measured: the mean feature distance of neighbours, and of the two ends.
    """

    pairs: Annotated[Count, "strips"] = 6
    points: Annotated[int, Ge(2), "images a strip, both ends included"] = 9

    def __post_init__(self) -> None:
        check_counts(self, pairs=1, points=2)

    def image_steps(self, sampler: Sampler) -> int:
        return self.pairs * self.points * sampler.steps

    def run(self, context: TaskContext) -> TaskResult:
        a, b = (prior(context.model, context.seed, range(k, 2 * self.pairs, 2)) for k in (0, 1))
        weights = torch.linspace(0, 1, self.points, dtype=torch.float64)
        states = rearrange(slerp(a, b, weights.to(a.device)), "n k c h w -> (n k) c h w")
        index = [pair for pair in range(self.pairs) for _ in range(self.points)]
        images = context.draw(states, index, context.sampler)
        f = rearrange(context.features(images), "(n k) d -> n k d", k=self.points)
        near = [distances(f[:, k], f[:, k + 1]) for k in range(self.points - 1)]
        scores = {
            "interpolation_neighbours": float(np.mean(near)),
            "interpolation_ends": float(distances(f[:, 0], f[:, -1]).mean()),
        }
        columns = [f"{float(w):.2f}" for w in weights]
        rows = [f"{2 * p} to {2 * p + 1}" for p in range(self.pairs)]
        return TaskResult(
            images=images,
            columns=columns,
            rows=rows,
            scores=scores,
            note="Euclidean distance of features, mean over strips",
        )
