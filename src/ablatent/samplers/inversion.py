"""DDIM inversion: from an image back to the noise that DDIM would make it from."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn, Node, OnStep, at_time, nodes_of
from ablatent.samplers.grids import time_grid
from ablatent.schedules.base import NoiseSchedule


@torch.no_grad()
def invert(
    denoise: DenoiseFn,
    schedule: NoiseSchedule,
    x0: Float[Tensor, "b c h w"],
    steps: int | Float64[np.ndarray, " S1"],
    on_step: OnStep | None = None,
) -> Float[Tensor, "b c h w"]:
    """The x_T from which DDIM with eta = 0 comes back to x0, but for an error of first order in the step.

    DDIM's step run upwards (Song et al. 2021, section 4.3; Mokady et al. 2023): x_t = alpha_t x_0 +
    sigma_t eps, both estimated at the less noisy end s of the step, at (x_s, s). At the clean state eps is undefined:
    there x_0 is x0 itself, and eps is estimated at the first noisy time t, at alpha_t x0. One denoiser call a step.
    `denoise` should hold the condition without guidance, which inversion amplifies.

    x0: float32 or float64; the result has its dtype. steps: how many, on the trailing grid; or descending times, such
    as `Sampler.times` gives, walked from their end, clean or not. on_step: as a sampler's; i counts from x0 on.
    """
    if x0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"invert: expected x0 in float32 or float64; got {x0.dtype}")
    times = time_grid("trailing", schedule, steps) if isinstance(steps, int) else steps
    if not bool(np.all(np.diff(times) < 0)):
        raise ValueError(f"invert: expected strictly descending times; got {times!r}")
    nodes, x = nodes_of(schedule, times)[::-1], x0
    for i, (s, t) in enumerate(pairwise(nodes)):
        prediction = _estimate(denoise, x, s, t)
        x = t.alpha * prediction.x0 + t.sigma * prediction.eps
        if on_step is not None:
            x = on_step(i, t.t, x, prediction)
        x = x.to(x0.dtype)
    return x


def _estimate(denoise: DenoiseFn, x: Float[Tensor, "b c h w"], s: Node, t: Node) -> Prediction:
    """x_0 and eps for the step from x at s up to t."""
    if s.sigma > 0:
        return at_time(denoise, x, s)
    return Prediction(x0=x, eps=at_time(denoise, t.alpha * x, t).eps)
