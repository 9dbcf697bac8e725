"""Filling a part of an image to fit the rest: holes inside it (inpainting), or new canvas around it (outpainting)."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Real, UInt8
from torch import Tensor

from ablatent.conditioning.masked_image import GREY
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, OneOf
from ablatent.core.rng import normal
from ablatent.core.types import Prediction
from ablatent.data.pixels import to_uint8
from ablatent.samplers.base import Sampler
from ablatent.samplers.resampled import Resampled
from ablatent.schedules.base import NoiseSchedule
from ablatent.tasks.base import Condition, FigureTask, Restoration, TaskContext, TaskResult, check_counts
from ablatent.tasks.generate import prior

METHODS = ("auto", "blend", "model")


@dataclass(frozen=True)
class Blend:
    """After each step, the kept part of the state is that of the noised image: what the model makes there is thrown
    away (Lugmayr et al. 2022, "RePaint", eq. 8; Song et al. 2021, "Score-based", appendix I.2).

    z: latents of the images, a row a sample; hole: 1 where the model fills, 0 where it does not; between them, the
    share of time, up to the clean end, in which it does, so that little of the image changes where that is small (Levin
    & Fried 2023, "Differential Diffusion", section 3). seed: of the noise of the kept part, which is new for each step
    and a function of seed, row and step. An `OnBatchStep`.
    """

    schedule: NoiseSchedule
    z: Float[Tensor, "n c h w"]
    hole: Float[Tensor, "n 1 h w"]
    seed: int

    def __call__(self, places: Sequence[int], i: int, t: float, x_t: Tensor, prediction: Prediction) -> Tensor:
        rows = slice(places[0], places[-1] + 1)
        z, hole = self.z[rows], self.hole[rows].to(x_t)
        eps = torch.from_numpy(normal(self.seed, "known", places, z.shape[1:], i)).to(z)
        times = torch.full((len(z),), t, dtype=torch.float64, device=z.device)
        noised = self.schedule.q_sample(z, times, eps).to(x_t)
        return torch.where(hole > max(t, 0.0) / self.schedule.T, x_t, noised)


def latent_hole(masks: Real[np.ndarray, "n H W"], shape: Sequence[int]) -> Float[Tensor, "n 1 h w"]:
    """The greatest share to fill of the pixels of a latent's square, so that latents of 0 are known in all pixels.

    shape: of the latents, (…, h, w).
    """
    x = rearrange(torch.from_numpy(masks.astype(np.float32)), "n H W -> n 1 H W")
    return F.adaptive_max_pool2d(x, (int(shape[-2]), int(shape[-1])))


def composite(
    drawn: UInt8[np.ndarray, "n H W C"], images: UInt8[np.ndarray, "n H W C"], masks: Real[np.ndarray, "n H W"]
) -> UInt8[np.ndarray, "n H W C"]:
    """The drawn images inside the holes, the images themselves outside, mixed by the mask's share of each pixel."""
    share = rearrange(masks, "n H W -> n H W 1").astype(np.float32)
    return np.rint(share * drawn + (1 - share) * images).astype(np.uint8)


def mask_out(images: UInt8[np.ndarray, "n H W C"], masks: Real[np.ndarray, "n H W"]) -> UInt8[np.ndarray, "n H W C"]:
    """The images with grey where nothing of them is kept (masks = 1), so that no hidden pixel reaches the model."""
    return composite(np.full_like(images, GREY), images, (masks >= 1).astype(np.uint8))


def steps_at_border(images: UInt8[np.ndarray, "n H W C"], masks: Real[np.ndarray, "n H W"]) -> tuple[float, float]:
    """Mean grey-level step (between neighbours of which one was filled, between neighbours of which none was)."""
    x, m = images.astype(np.float64), (masks > 0).astype(np.int64)
    border, inside = [], []
    for axis in (1, 2):
        step = np.abs(np.diff(x, axis=axis)).mean(axis=-1)
        two = np.diff(m, axis=axis) != 0
        first = np.take(m, range(m.shape[axis] - 1), axis=axis)
        border.append(step[two])
        inside.append(step[~two & (first == 0)])
    return float(np.concatenate(border).mean()), float(np.concatenate(inside).mean())


@dataclass(frozen=True)
class Fill(FigureTask):
    """The base of inpainting and outpainting.

    method: blend (any model, no training: the known part is put back after each step), model (one that was trained to
    fill, conditioner=masked_image), or auto (model where it can, else blend). resample: repetitions of each step, with
    noise added in between; 1: none. For blend; 10 is RePaint's. count: images; shown: those in the figure.

    The kept pixels are put back after decoding, since no first stage reconstructs exactly: in the result they are those
    of the image. `error_outside` measures that (the greatest difference, in grey levels), and
    `error_outside_before_pasting` the difference that pasting removed (the mean).
    """

    method: Annotated[
        Annotated[str, OneOf(("auto", "blend", "model"))],
        "blend: noise the known part into each step; model: trained to fill; auto: what the model can",
    ] = "auto"
    resample: Annotated[Count, "how often each step of blend is made (RePaint: 10)"] = 1
    count: Annotated[Count, "images; from 50 on also FID and the like"] = 8
    shown: Annotated[Count, "images in the figure"] = 8

    displays: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "psnr_hole": {"label": "PSNR in the hole [dB]", "better": "higher", "shown_in": "terminal"},
    }
    needs_images: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    conditions_from: ClassVar[str] = "validation"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError("task.method", "one of " + ", ".join(METHODS), self.method)
        check_counts(self, resample=1, count=1, shown=1)

    def check(self, sampler: Sampler, schedule: NoiseSchedule) -> None:
        Resampled.of(sampler, self.resample).check(schedule)

    def check_model(self, condition: Condition, size: int) -> None:
        if self.method == "model" and not any(part.fills for part in condition):
            do = "Use task.method=blend, which needs no such model, or train with conditioner=masked_image."
            raise ConfigError("task.method", "blend or auto with a model that reads no mask", self.method, do)

    def steps_each(self, sampler: Sampler) -> int:
        return sampler.steps * self.resample

    def image_steps(self, sampler: Sampler) -> int:
        return self.count * self.steps_each(sampler)

    @abstractmethod
    def canvases(
        self, context: TaskContext, images: UInt8[np.ndarray, "n H W C"]
    ) -> tuple[UInt8[np.ndarray, "n H2 W2 C"], Real[np.ndarray, "n H2 W2"]]:
        """(images to fill, masks: 1 = fill, 0 = keep, shares between), on the canvas of the result."""

    def draw(self, context: TaskContext, source: Source, index: Sequence[int]) -> UInt8[np.ndarray, "n H W C"]:
        images, masks = self.canvases(context, _pixels(source))
        return composite(self._drawn(context, images, masks, source, index), images, masks)

    def _drawn(
        self, context: TaskContext, images: np.ndarray, masks: np.ndarray, source: Source, index: Sequence[int]
    ) -> np.ndarray:
        """The drawn images before pasting. The condition is that of the image itself, with its hole hidden."""
        given = replace(source, pixels=mask_out(images, masks), masks=masks)
        height, width = masks.shape[1:]
        x_T = prior(context.model, context.seed, index, context.model.first_stage.latent_shape(height, width))
        # labels without a condition: those of guidance by a classifier
        conditioned = bool(context.model.conditioner.needs) or given.annotations.labels is not None
        own = given if conditioned else None
        if self.method != "blend" and context.takes_mask(given):
            return context.draw(x_T, index, context.sampler, source=given)
        z = context.model.encode(np.asarray(given.pixels))
        blend = Blend(context.model.denoiser.schedule, z, latent_hole(masks, z.shape).to(z), context.seed)
        return context.draw(x_T, index, Resampled.of(context.sampler, self.resample), blend, own)

    def run(self, context: TaskContext) -> TaskResult:
        source = context.first(self.count)
        images, masks = self.canvases(context, _pixels(source))
        drawn = self._drawn(context, images, masks, source, range(source.n))
        filled, outside = composite(drawn, images, masks), masks == 0
        restoration = self.restoration(filled, images, masks)
        scores = {}
        if outside.any():  # a soft mask may keep no pixel whole
            border, inside = steps_at_border(filled, masks)
            scores = {
                "error_outside": float(_error(filled, images, outside).max()),
                "error_outside_before_pasting": float(_error(drawn, images, outside).mean()),
                "step_at_border": border,
                "step_inside": inside,
            }
        if restoration is not None:
            baseline = f"psnr_hole_of_{restoration.baseline_name}"
            scores |= {"psnr_hole": psnr_inside(filled, images, masks)}
            scores |= {baseline: psnr_inside(restoration.baseline, images, masks)}
        note = (
            f"{source.n} images; known pixels are pasted back: error_outside is their greatest difference in grey "
            "levels afterwards, error_outside_before_pasting the mean before. step_at_border: mean grey-level step "
            "between a filled pixel and a known neighbour; step_inside: between known neighbours"
        )
        columns = ["image", "given", "filled"]
        given = composite(np.full_like(images, GREY), images, masks)
        rows = np.stack([images, given, filled], axis=1)[: self.shown]
        figure, names = rearrange(rows, "n k H W c -> (n k) H W c"), [str(i) for i in range(len(rows))]
        return TaskResult(images=figure, columns=columns, rows=names, scores=scores, note=note, restoration=restoration)

    def restoration(self, filled: np.ndarray, images: np.ndarray, masks: np.ndarray) -> Restoration | None:
        """The filled images beside their ground truth, where the holes have one; None for others."""
        return None


def _pixels(source: Source) -> np.ndarray:
    if source.pixels is None:
        raise ValueError("a task that fills images needs some")
    return np.asarray(source.pixels)


def _error(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int64) - b.astype(np.int64))[where]


def psnr_inside(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> float:
    """Peak signal-to-noise ratio over the filled pixels of all images, in dB; at most 68.1 (error 0.1)."""
    mse = np.square(_error(a, b, masks > 0).astype(np.float64)).mean()
    return float(10 * np.log10(255.0**2 / max(mse, 1e-2)))


def mean_filled(images: UInt8[np.ndarray, "n H W C"], masks: Real[np.ndarray, "n H W"]) -> np.ndarray:
    """The baseline: each hole in the mean colour of the rest of its image."""
    known = rearrange(1 - masks.astype(np.float64), "n H W -> n H W 1")
    mean = (images * known).sum(axis=(1, 2)) / known.sum(axis=(1, 2))
    colour = to_uint8(rearrange(mean / 127.5 - 1, "n c -> n c 1 1"))
    return composite(np.broadcast_to(colour, images.shape), images, masks)
