"""Samples of a trained model: latents from counter-based noise, decoded to images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ablatent.conditioning.base import Conditioner
from ablatent.core.errors import StageError
from ablatent.core.progress import Bar
from ablatent.core.rng import normal
from ablatent.core.types import Prediction
from ablatent.data.latents import LatentNormalizer
from ablatent.data.pixels import to_unit
from ablatent.diffusion.denoiser import Denoiser
from ablatent.first_stage.base import FirstStage
from ablatent.samplers.base import DenoiseFn
from ablatent.samplers.guidance import Guidance, GuidanceInputs, unguided
from ablatent.samplers.guidance_classifier import LogitsFn, label_gradient
from ablatent.samplers.resampled import AnySampler
from ablatent.tasks.tiles import Tiling, decode_in_tiles

ENCODED = 32  # images at once


@dataclass(frozen=True, kw_only=True)
class Model:
    """The trained parts that turn noise into images; tiling: of latents too large to be decoded at once, or None."""

    first_stage: FirstStage
    normalizer: LatentNormalizer
    denoiser: Denoiser
    conditioner: Conditioner
    latent_shape: tuple[int, int, int]
    device: torch.device
    tiling: Tiling | None = None

    @torch.no_grad()
    def encode(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[Tensor, "n c h w"]:
        """The mean latents of images, normalised."""
        parts = []
        for first in range(0, len(images), ENCODED):
            x = torch.from_numpy(to_unit(np.asarray(images[first : first + ENCODED]))).to(self.device)
            parts.append(self.normalizer.normalize(self.first_stage.moments(x).mean))
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents (b, c, h, w) -> images (b, C, H, W) in float32. Raises StageError for NaN and infinity."""
        raw = self.normalizer.denormalize(z.float())
        with torch.autocast(self.device.type, enabled=False):
            x = self._decoded(raw)
        if not bool(torch.isfinite(x).all()):
            where = "sampling" if not bool(torch.isfinite(z).all()) else "the first stage's decoder"
            raise StageError(f"samples: {where} gave values that are not finite.")
        return x

    def _decoded(self, raw: Tensor) -> Tensor:
        if self.tiling is None:
            return self.first_stage.decode(raw)
        return decode_in_tiles(self.first_stage.decode, raw, self.tiling, self.first_stage.downsample)


def prior(model: Model, seed: int, indices: Sequence[int], shape: tuple[int, int, int] | None = None) -> Tensor:
    """N(0, I) of the given sample indices, of which x_T is made: (len(indices), c, h, w), bit-equal for any batching.

    shape: (c, h, w) of a canvas other than the model was trained on; None: the model's.
    """
    return torch.from_numpy(normal(seed, "x_T", indices, shape or model.latent_shape)).to(model.device)


@dataclass(frozen=True)
class Guided:
    """A guidance with the weaker model and the classifier of noisy latents that it needs, None where it needs none."""

    guidance: Guidance
    weak: Model | None = None
    classifier: LogitsFn | None = None

    def denoise_fn(self, model: Model, batch: Mapping[str, Tensor]) -> DenoiseFn:
        """The sampler's denoise function of a batch of samples. batch: the conditioner's fields, and `label` for a
        classifier, a row a sample.

        The weak model embeds the condition by its own conditioner: the two were trained together.
        """
        cond, weak, classifier = model.conditioner.embed(batch), self.weak, self.classifier
        return self.guidance(
            GuidanceInputs(
                model.denoiser,
                cond,
                null=model.conditioner.null(cond) if self.guidance.needs_null else None,
                weak=None if weak is None else unguided(weak.denoiser, weak.conditioner.embed(batch)),
                classifier=None if classifier is None else label_gradient(classifier, batch["label"]),
            )
        )


@dataclass(frozen=True)
class Draws:
    """Which samples are drawn. seed, indices: decide each sample's noise; batch_size: samples at once, which changes
    nothing but memory; x: the noise (n, c, h, w) that they come from, None for N(0, I) drawn from seed and index; done:
    so many are left out, whole batches from the first on, which were drawn before; noised: x are not noise but noised
    images, at the sampler's first time."""

    seed: int
    indices: Sequence[int]
    batch_size: int
    x: Float[Tensor, "n c h w"] | None = None
    done: int = 0
    noised: bool = False


OnBatchStep = Callable[[Sequence[int], int, float, Tensor, Prediction], Tensor]
"""(places of the batch's samples among all that are drawn, step i, its time t, x_t after it, the prediction that it was
made from) -> the x_t to go on with. Called after each step of each batch."""


def advancing(bar: Bar, on_step: OnBatchStep | None = None) -> OnBatchStep:
    """An on_step that advances a progress bar by the images of each step, then calls the given one, if any."""

    def advance(places: Sequence[int], i: int, t: float, x_t: Tensor, prediction: Prediction) -> Tensor:
        bar.advance(len(x_t))
        return x_t if on_step is None else on_step(places, i, t, x_t, prediction)

    return advance


@torch.no_grad()
def generate(
    model: Model,
    sampler: AnySampler,
    guided: Guided,
    draws: Draws,
    fields: Mapping[str, Any],
    on_step: OnBatchStep | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (noise or noised images, x_0), latents (b, c, h, w), normalised, for the indices of `draws` in order.

    fields: those of the conditioner (`conditions`), and `label` for a classifier, a row an index. on_step: the
    sampler's, called after each step of each batch.
    """
    schedule, size = model.denoiser.schedule, draws.batch_size
    for first in range(draws.done, len(draws.indices), size):
        rows = slice(first, first + size)
        part = draws.indices[rows]
        batch = {k: torch.from_numpy(np.asarray(v[rows])).to(model.device) for k, v in fields.items()}
        denoise = guided.denoise_fn(model, batch)
        start = prior(model, draws.seed, part) if draws.x is None else draws.x[rows]

        def noise(step: int, part: Sequence[int] = part, shape: tuple[int, ...] = tuple(start.shape[1:])) -> Tensor:
            return torch.from_numpy(normal(draws.seed, "step", part, shape, step)).to(model.device)

        places = range(first, first + len(part))
        x = start if draws.noised else sampler.initial_state(schedule, start)
        yield start, sampler(denoise, schedule, x, noise, partial(on_step, places) if on_step else None)
