"""What sampling starts from on a schedule whose alpha² + sigma² is not 1: noise of the deviation of x_T, or images as
they were noised."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.conditioning.none import NoConditioner
from ablatent.conditioning.source import Source
from ablatent.data.base import Annotations
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import X0
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import NoGuidance
from ablatent.samplers.resampled import Resampled
from ablatent.schedules.linear import Linear
from ablatent.tasks.base import TaskContext
from ablatent.tasks.generate import Draws, Guided, Model, generate, prior
from ablatent.tasks.img2img import Img2Img


class Tripled(Linear):
    """The levels of the linear schedule, times 3."""

    variance_preserving = False

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = super().alpha_sigma(t)
        return 3 * alpha, 3 * sigma


class Watched(torch.nn.Module):
    """A network that remembers the states that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, cond: object) -> Tensor:
        self.seen.append(x.clone())
        return torch.zeros_like(x)


def model_of(network: Watched) -> Model:
    return Model(
        first_stage=IdentityFirstStage(),
        normalizer=LatentNormalizer((0.0,) * 3, (1.0,) * 3),
        denoiser=Denoiser(network, Tripled(100, 0.0001, 0.02, False), X0()),
        conditioner=NoConditioner(),
        latent_shape=(3, 8, 8),
        device=torch.device("cpu"),
    )


def test_noise_takes_the_deviation_of_x_T() -> None:
    network = Watched()
    model, noise = model_of(network), prior(model_of(network), 3, range(2))
    for sampler in (DDIM(steps=2), Resampled(DDIM(steps=2), 2)):
        for x in (None, noise):
            network.seen.clear()
            ((start, _),) = generate(model, sampler, Guided(NoGuidance()), Draws(3, range(2), 2, x), {})
            assert torch.equal(start, noise)
            torch.testing.assert_close(network.seen[0], 3 * noise)


def test_noised_images_stay_as_they_are() -> None:
    network = Watched()
    model, calls = model_of(network), list[dict[str, Any]]()
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)

    def draw(x: Tensor, index: object, sampler: DDIM, **other: Any) -> np.ndarray:
        calls.append({"x": x, **other})
        list(generate(model, sampler, Guided(NoGuidance()), Draws(3, range(2), 2, x, noised=other["noised"]), {}))
        return images

    context = TaskContext(model=model, sampler=DDIM(steps=2), seed=3, draw=draw, features=lambda x: x)
    Img2Img(strength=0.5).draw(context, Source(2, Annotations(), images), range(2))
    (call,) = calls
    assert call["noised"] and torch.equal(network.seen[0], call["x"].to(torch.float32))
    alpha, sigma = (float(v) for v in model.denoiser.schedule.alpha_sigma(torch.tensor([49])))
    assert math.hypot(alpha, sigma) > 2.9
    torch.testing.assert_close(call["x"], alpha * model.encode(images) + sigma * prior(model, 3, range(2)))
