"""Samples of a trained model: latents from counter-based noise, decoded to images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ablatent.conditioning.base import Conditioner
from ablatent.core.errors import StageError
from ablatent.core.progress import Bar
from ablatent.core.rng import normal
from ablatent.core.types import Prediction
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.first_stage.base import FirstStage
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance


@dataclass(frozen=True)
class Model:
    """All that turns noise into images."""

    first_stage: FirstStage
    normalizer: LatentNormalizer
    denoiser: Denoiser
    conditioner: Conditioner
    latent_shape: tuple[int, int, int]
    device: torch.device

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents (b, c, h, w) -> images (b, 3, H, W), always in float32; StageError on NaN."""
        raw = self.normalizer.denormalize(z.float())
        with torch.autocast(self.device.type, enabled=False):
            x = self.first_stage.decode(raw)
        if not bool(torch.isfinite(x).all()):
            where = "sampling" if not bool(torch.isfinite(z).all()) else "the first stage's decoder"
            raise StageError(f"samples: {where} gave numbers that are not finite.")
        return x


def prior(model: Model, seed: int, indices: Sequence[int]) -> Tensor:
    """x_T ~ N(0, I) of the given sample indices: (len(indices), c, h, w), bit-equal for any batching."""
    return torch.from_numpy(normal(seed, "x_T", indices, model.latent_shape)).to(model.device)


@torch.no_grad()
def generate(
    model: Model,
    sampler: Sampler,
    guidance: Guidance,
    seed: int,
    indices: Sequence[int],
    fields: dict[str, np.ndarray],
    batch_size: int,
    bar: Bar | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (x_T, x_0) latents, normalised, for the given sample indices in their order.

    fields: what the conditioner needs, one row for each index. bar: advanced by images, in fractions of their steps.
    """
    schedule = model.denoiser.schedule
    for first in range(0, len(indices), batch_size):
        part = indices[first : first + batch_size]
        batch = {k: torch.from_numpy(np.asarray(v[first : first + batch_size])) for k, v in fields.items()}
        cond = model.conditioner.embed({k: v.to(model.device) for k, v in batch.items()})
        null = model.conditioner.null(len(part)) if guidance.needs_null else None
        denoise = guidance(model.denoiser, cond, null)
        x_T = prior(model, seed, part)

        def noise(step: int, part: Sequence[int] = part) -> Tensor:
            return torch.from_numpy(normal(seed, "step", part, model.latent_shape, step)).to(model.device)

        def on_step(i: int, t: float, x: Tensor, p: Prediction, n: int = len(part)) -> Tensor:
            if bar is not None:
                bar.advance(n)
            return x

        yield x_T, sampler(denoise, schedule, x_T, noise, on_step)
