"""latents: every image through the encoder, once."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import rearrange

from ablatent.core.arrays import new_array
from ablatent.core.errors import StageError
from ablatent.core.files import write_json
from ablatent.core.progress import track
from ablatent.core.rng import normal
from ablatent.data.histograms import ChannelHistograms
from ablatent.data.latents import ChannelMoments, LatentNormalizer, Latents
from ablatent.data.tensors import to_tensor
from ablatent.first_stage.base import FirstStage
from ablatent.stages.context import Context
from ablatent.stages.models import load_first_stage

AT_ONCE = 512
"""Images whose moments are summed together."""
QUANTILE_VALUES = 2**24
"""About so many values, of evenly spaced images, decide the quantiles of larger data."""


@torch.no_grad()
def build(ctx: Context) -> None:
    """Write mean.npy, std.npy: (views, n, c, h, w) float32 raw moments, a row an image; normalizer.json; summary.json;
    histograms.json: of the normalised training latents, and the use of codes where there is a codebook.

    Raises StageError for moments that are not finite.
    """
    model = load_first_stage(ctx.input("first_stage"), ctx.device)
    images = ctx.images()
    pixels, size = images.pixels, ctx.compute.batch_size
    views = 2 if ctx.config["flip"] else 1
    shape = model.latent_shape(*pixels.shape[1:3])
    arrays = {
        name: new_array(ctx.work.files / f"{name}.npy", np.float32, (views, len(pixels), *shape))
        for name in ("mean", "std")
    }
    blocks = ctx.blocks("moments")
    with track(ctx.title, views * len(pixels), "images", blocks.done) as bar:
        while blocks.done < views * len(pixels):
            view, i = divmod(blocks.done, len(pixels))
            batch = pixels[i : i + size]
            moments = model.moments(to_tensor(batch[:, :, ::-1] if view else batch).to(ctx.device))
            if not bool(torch.isfinite(moments.mean).all() and torch.isfinite(moments.std).all()):
                raise StageError(f"{ctx.title}: the encoder gave values that are not finite (image {i} and on).")
            blocks.add(len(batch), mean=moments.mean.cpu().numpy(), std=moments.std.cpu().numpy())
            bar.advance(len(batch))
    first = 0
    for part in blocks:
        for name, rows in part.items():
            rearrange(arrays[name], "view n ... -> (view n) ...")[first : first + len(rows)] = rows
        first += len(part["mean"])
    rows = images.indices("train")
    seen = views * len(rows) * math.prod(shape)
    channels = ChannelMoments.of(partial(_parts, arrays["mean"], arrays["std"], rows), seen // shape[0])
    normalizer = LatentNormalizer.fit(channels, ctx.config["normalizer"])
    normalizer.save(ctx.work.files / "normalizer.json")
    for array in arrays.values():
        array.flush()
    latents = Latents(arrays["mean"], arrays["std"], normalizer)
    write_json(ctx.work.files / "histograms.json", histograms(latents, rows, model, size, ctx.device))
    spread = rows[:: -(-seen // QUANTILE_VALUES)]
    mean = np.concatenate(list(arrays["mean"][:, spread]))
    quantiles = np.quantile(mean, [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999], axis=(0, 2, 3))
    write_json(
        ctx.work.files / "summary.json",
        {
            "shape": list(shape),
            "count": len(pixels),
            "views": views,
            "mean": channels.mean.tolist(),
            "deviation": np.sqrt(channels.variance).tolist(),
            "encoder_std": float(channels.deviation.mean()),
            "quantiles": quantiles.T.tolist(),
        },
    )


def _parts(mean: np.ndarray, std: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The moments of the given rows of all views, a few images at a time."""
    for view in range(len(mean)):
        for i in range(0, len(rows), AT_ONCE):
            part = rows[i : i + AT_ONCE]
            yield mean[view, part], std[view, part]


def histograms(
    latents: Latents, rows: np.ndarray, model: FirstStage, size: int, device: torch.device
) -> dict[str, Any]:
    """Histograms of the latents that a diffusion training sees: mean + std * noise of the given rows, normalised.

    size: rows at once. Channel histograms over all views, as JSON, and "codes": for each code the number of positions
    to which it is the nearest, None without a codebook.
    """
    seen, codes = ChannelHistograms(latents.shape[0]), None
    for view in range(len(latents.mean)):
        for i in range(0, len(rows), size):
            part = rows[i : i + size]
            noise = normal(0, "histograms", part.tolist(), latents.shape, view)
            seen.add(latents.draw(np.full(len(part), view), part, noise).numpy())
            counted = model.code_counts(torch.from_numpy(latents.mean[view, part]).to(device))
            if counted is not None:
                codes = counted if codes is None else codes + counted
    return {**seen.as_json(), "codes": None if codes is None else codes.tolist()}
