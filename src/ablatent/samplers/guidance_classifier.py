"""Classifier guidance: along the gradient of a classifier of noisy latents (Dhariwal & Nichol 2021, section 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from einops import rearrange
from jaxtyping import Float, Int, Real
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ablatent.core.types import Prediction
from ablatent.samplers.base import DenoiseFn
from ablatent.samplers.guidance import GradientFn, Guidance, GuidanceInputs, check_scale, required
from ablatent.schedules.base import NoiseSchedule, per_row

LogitsFn = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, h, w), t (b,)) -> logits of p(y | x_t), (b, classes)."""


@dataclass(frozen=True)
class ClassifierGuidance(Guidance):
    """eps = eps_model - sigma scale grad log p(y | x_t) (Dhariwal & Nichol 2021, eq. 14 and algorithm 2).

    x_0 moves by sigma² / alpha times the same gradient, so that x_t = alpha x_0 + sigma eps goes on to hold. With an
    exact classifier, scale 1 turns the exact unconditional model into the exact conditional one. The model itself may
    be conditional as well; the paper then uses scales about 1, and about 10 with an unconditional one.

    scale: 0 is no guidance. Where alpha = 0, x_t says nothing of y, and the prediction stays as it is.
    """

    scale: Annotated[float, "factor of the classifier gradient; 0 samples the model as it is"]

    neutral_scale: ClassVar[float | None] = 0
    needs_stages: ClassVar[tuple[str, ...]] = ("noisy_classifier",)
    reads: ClassVar[tuple[str, ...]] = ("labels",)

    def __post_init__(self) -> None:
        check_scale(self.scale, "0 is no guidance")

    @property
    def needs_classifier(self) -> bool:
        return self.scale != 0

    def __call__(self, inputs: GuidanceInputs) -> DenoiseFn:
        denoise_plain = inputs.unguided()
        if self.scale == 0:
            return denoise_plain
        do = "The samples stage gives it where data has labels."
        classifier = required(inputs.classifier, "a classifier of noisy latents", "none", do)
        schedule = inputs.denoiser.schedule

        def denoise(x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]) -> Prediction:
            p = denoise_plain(x, t)
            gradient = self.scale * classifier(x, t)
            alpha, sigma = schedule.alpha_sigma(t)
            heard = alpha > 0
            to_eps = torch.where(heard, sigma, 0.0)
            to_x0 = torch.where(heard, sigma**2 / torch.where(heard, alpha, 1.0), 0.0)
            return Prediction(
                x0=p.x0 + per_row(to_x0, x) * gradient,
                eps=p.eps - per_row(to_eps, x) * gradient,
                variance_fraction=p.variance_fraction,
            )

        return denoise


class NoisyLogits(nn.Module):
    """A classifier network and the schedule of its noise: (x_t, t) -> logits.

    The network sees alpha / (alpha² + sigma²) x_t, the best linear estimate of x_0 where x_0 has unit variance. So the
    gradient by x_t carries a factor alpha, as that of the true log p(y | x_t) does (it is alpha / sigma²
    (E[x_0 | x_t, y] - E[x_0 | x_t])), and what classifier guidance adds to x_0 stays bounded at the noisiest times,
    where dividing the error of a free gradient by alpha would drown the image.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    def forward(self, x_t: Float[Tensor, "b c h w"], t: Real[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Never below float32."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        seen = per_row(alpha, x_t) * x_t / per_row(alpha**2 + sigma**2, x_t)  # in float32 1 where variance is preserved
        logits: Tensor = self.network(seen, t.to(seen.dtype))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def label_gradient(logits: LogitsFn, labels: Int[Tensor, " b"]) -> GradientFn:
    """The gradient of log p(label | x_t) by x_t, each row by its own label; also inside torch.no_grad."""
    chosen = rearrange(labels, "b -> b 1")

    def gradient(x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            log_p = log_softmax(logits(x, t), dim=1).gather(1, chosen)
            return torch.autograd.grad(log_p.sum(), x)[0]

    return gradient
