"""How well images come back from a first stage: PSNR, SSIM, perceptual distance."""

from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8

from ablatent.core.blocks import Blocks
from ablatent.core.errors import DataError
from ablatent.core.progress import track
from ablatent.evaluation.features import ImageArray
from ablatent.evaluation.intervals import STUDENT, of_mean
from ablatent.evaluation.scores import Score, versions
from ablatent.first_stage.perceptual import Perceptual, in_colours

SSIM_WINDOW = 11


def psnr(
    originals: UInt8[np.ndarray, "n h w C"], reconstructions: UInt8[np.ndarray, "n h w C"], smallest_mse: float = 1e-2
) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in dB, float64 (n,), data range 255.

    A mean squared error below `smallest_mse` (in grey levels squared) counts as that, so that equal images give 68 dB.
    """
    difference = originals.astype(np.float64) - reconstructions.astype(np.float64)
    mse = np.square(difference).mean(axis=(1, 2, 3))
    return 10 * np.log10(255.0**2 / np.maximum(mse, smallest_mse))


def reconstruction_scores(
    originals: ImageArray,
    reconstructions: ImageArray,
    perceptual: Perceptual,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    blocks: Blocks | None = None,
    per_image: int = 1,
) -> dict[str, Score]:
    """psnr (dB, mean over images), ssim and perceptual distance (means), uint8 images (n, h, w, C) in [0, 255].

    A score that cannot be had is left out and a note of psnr says why: no perceptual network, or images below its least
    size or below SSIM's window of 11 px. blocks: keeps what is finished, see `extract`. per_image: rows of one
    original, one after the other: for the intervals they count as one image. Raises DataError unless both sets have
    the same shape and at least one image.
    """
    first, other = originals[:1], reconstructions[:1]
    shape, other_shape = (len(originals), *first.shape[1:]), (len(reconstructions), *other.shape[1:])
    if shape != other_shape or not len(originals) or first.dtype != np.uint8:
        raise DataError(f"reconstruction: expected equal sets; got {shape} and {other_shape}.")
    smallest = min(shape[1:3])
    notes: list[str] = []
    values: dict[str, np.ndarray] = {}
    with_ssim = smallest >= SSIM_WINDOW
    with_perceptual = perceptual.name != "none" and smallest >= perceptual.smallest
    if not with_ssim:
        notes.append(f"no ssim: images of {smallest} px are smaller than its window of {SSIM_WINDOW} px")
    if perceptual.name != "none" and not with_perceptual:
        notes.append(f"no perceptual distance: {perceptual.name} needs {perceptual.smallest} px, not {smallest}")
    parts = [slice(start, start + batch_size) for start in range(0, len(originals), batch_size)]
    values["psnr"] = np.concatenate([psnr(originals[part], reconstructions[part]) for part in parts])
    names = [name for name, wanted in (("ssim", with_ssim), ("perceptual", with_perceptual)) if wanted]
    network = perceptual.to(device) if with_perceptual else perceptual
    blocks = Blocks() if blocks is None else blocks
    with torch.inference_mode(), track("reconstruction scores", len(originals), "images", blocks.done) as bar:
        for start in range(blocks.done, len(originals) if names else 0, batch_size):
            x, y = (
                rearrange(torch.tensor(images[start : start + batch_size]), "b h w c -> b c h w").to(device).float()
                for images in (originals, reconstructions)
            )
            scored: dict[str, np.ndarray] = {}
            if with_ssim:
                scored["ssim"] = _ssim(y, x)
            if with_perceptual:
                distance = network(in_colours(x / 127.5 - 1), in_colours(y / 127.5 - 1))
                scored["perceptual"] = distance.cpu().numpy()
            blocks.add(len(x), **scored)
            bar.advance(len(x))
    values |= {name: blocks[name].astype(np.float64) for name in names}
    shown: dict[str, dict[str, Any]] = {
        "psnr": {"label": "PSNR [dB]", "better": "higher", "shown_in": "terminal"},
        "ssim": {"label": "SSIM", "better": "higher"},
        "perceptual": {"label": "perceptual distance", "better": "lower", "shown_in": "terminal"},
    }
    extra: dict[str, dict[str, Any]] = {
        "psnr": {"data_range": 255},
        "ssim": {"data_range": 255, "window": "gaussian, sigma 1.5, 11 px", "border": "windows inside the image"},
        "perceptual": {"network": perceptual.name, "digest": perceptual.digest},
    }
    common: dict[str, Any] = {"count": len(originals), "mean_over": "images", "versions": versions()}
    return {
        name: Score(
            float(v.mean()),
            None,
            common | extra[name],
            notes if name == "psnr" else [],
            interval=of_mean(v, per_image),
            interval_by=STUDENT,
            **shown[name],
        )
        for name, v in values.items()
    }


def _ssim(fake: torch.Tensor, real: torch.Tensor) -> np.ndarray:
    """Of each image (Wang et al. 2004): the mean over channels and over the windows that lie inside the image, as
    scikit-image has it (gaussian_weights=True, sigma=1.5, use_sample_covariance=False); torchmetrics' own mean has the
    windows over a mirrored border, too."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    border = SSIM_WINDOW // 2
    _, full = structural_similarity_index_measure(
        fake, real, data_range=255.0, reduction="none", return_full_image=True
    )
    inside = torch.as_tensor(full)[..., border:-border, border:-border]
    return np.asarray(inside.mean(dim=(1, 2, 3)).cpu().numpy())
