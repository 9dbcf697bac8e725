"""Features of image sets, batch by batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange

from ablatent.core.blocks import Blocks
from ablatent.core.errors import DataError
from ablatent.core.images import as_rgb
from ablatent.core.progress import track
from ablatent.evaluation.scores import Extractor


@runtime_checkable
class ImageArray(Protocol):
    """An array of images, in memory or not: a length, and uint8 (n, H, W, C) for a slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class ImageRows:
    """Rows of an array of images (n, H, W, C), read slice by slice."""

    images: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        return np.asarray(self.images[self.rows[rows]])


def extract(
    extractor: Extractor,
    images: ImageArray,
    device: torch.device | str,
    batch_size: int,
    title: str = "features",
    blocks: Blocks | None = None,
    out: Path | None = None,
) -> np.ndarray:
    """float32 (N, d) features of uint8 (N, H, W, C) images in [0, 255]; the batch size changes last bits only.

    Grey images (C = 1) are seen as RGB.

    blocks: keeps what is finished, and has what an extraction of the same images that was killed had finished. out: a
    .npy file that takes the features and is mapped into memory, so that memory does not grow with their number. Raises
    DataError for an empty set, images of another type or shape, and features that are not finite.
    """
    if not len(images):
        raise DataError(f"{title}: expected at least one image; got none.")
    extractor.load(device)
    blocks = Blocks() if blocks is None else blocks
    with track(title, len(images), "images", blocks.done) as bar:
        for start in range(blocks.done, len(images), batch_size):
            batch = as_rgb(images[start : start + batch_size])
            if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
                raise DataError(f"{title}: expected uint8 images (N, H, W, C); got {batch.dtype} {batch.shape}.")
            tensor = rearrange(torch.tensor(batch), "b h w c -> b c h w").to(device)
            features = extractor(tensor).float().cpu().numpy()
            if not np.isfinite(features).all():
                raise DataError(f"{title}: {extractor.name} gave features that are not finite.")
            blocks.add(len(batch), features=features)
            bar.advance(len(batch))
    if out is None:
        return blocks["features"]
    blocks.save("features", out)
    return np.asarray(np.load(out, mmap_mode="r"))


class SetFeatures:
    """Extractor → features (n, d) of one set of images, each extracted once.

    title: of the set, for the progress bar; batch_size: images at once.
    """

    def __init__(self, images: ImageArray, title: str, device: torch.device | str, batch_size: int):
        self.images, self.title, self.device, self.batch_size = images, title, device, batch_size
        self._held: dict[str, np.ndarray] = {}

    def __call__(self, extractor: Extractor) -> np.ndarray:
        """float32 (n, d), see `extract`."""
        if extractor.name not in self._held:
            title = f"{extractor.name} of {self.title} images"
            self._held[extractor.name] = extract(extractor, self.images, self.device, self.batch_size, title)
        return self._held[extractor.name]
