"""DPM-Solver++, the two-step (multistep) method of second order."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ablatent.core.types import Prediction
from ablatent.samplers.base import Run, Sampler


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M), deterministic (Lu et al. 2022, "DPM-Solver++", algorithm 2): one denoiser call a step.

    x_s = sigma_s / sigma_t x_t + (alpha_s - alpha_t sigma_s / sigma_t) D, with D the estimate of x_0 extrapolated in
    half log-SNR from the last two. The first step and the last, to the clean state, are of first order.
    """

    order: ClassVar[int] = 2

    def step(self, run: Run, i: int, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Prediction]:
        t, s = run.nodes[i], run.nodes[i + 1]
        prediction = run.predict(x, t)
        x0 = prediction.x0
        if i > 0 and s.sigma > 0:
            before = t.half_log_snr - run.nodes[i - 1].half_log_snr  # infinite after zero SNR: then first order
            ratio = 0.0 if math.isinf(before) else (s.half_log_snr - t.half_log_snr) / before
            x0 = x0 + 0.5 * ratio * (x0 - run.predictions[-1].x0)
        shrink = s.sigma / t.sigma
        return shrink * x + (s.alpha - t.alpha * shrink) * x0, prediction
