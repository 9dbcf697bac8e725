"""Inpainting: the image outside its hole, and the mask of the hole (Rombach et al. 2022, section 4.5)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import UInt8
from torch import Tensor

from ablatent.conditioning.base import Conditioner, Encode, Rows
from ablatent.conditioning.masks import KINDS, Masks
from ablatent.conditioning.source import Source
from ablatent.conditioning.spatial import flip
from ablatent.core.fields import OneOf, Probability, Range
from ablatent.core.types import Cond

GREY = 128
"""The grey level in a hole before it is filled: the middle of the range."""


class MaskedImage(Conditioner):
    """Latents of the image with grey in its hole, and the mask: 1 in the hole, -1 elsewhere.

    A position of the latents is to be filled where any of its pixels is. Where a mask is between 0 and 1, the image is
    fainter by that share, and the mask beside it has the greatest share of its pixels. masks, fraction: see `Masks`; a
    source with masks of its own decides itself, and its images may be of another size than those of the training. The
    null condition is an image that is masked everywhere.
    """

    needs = ("pixels",)
    fills = True
    filled = ("size", "latent_shape", "encode", "channels")

    def __init__(
        self,
        size: int,
        latent_shape: Sequence[int],
        encode: Encode,
        channels: int = 3,
        masks: Annotated[
            Annotated[str, OneOf(KINDS)] | Annotated[str, OneOf(("mixture",))],
            "generator of the masks; mixture: boxes, strokes or halves, equally often",
        ] = "mixture",
        fraction: Annotated[Range, "[lowest, highest] share of the image that boxes and strokes cover"] = (0.1, 0.5),
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.0,
    ) -> None:
        super().__init__(dropout)
        self.size, self.downsample, self.encode = size, size // latent_shape[1], encode
        self.masks, self.channels = Masks(masks, fraction), channels
        self.spatial_channels = latent_shape[0] + 1

    def rows(self, source: Source) -> Rows:
        source.check(self.needs)
        rows = {"pixels": np.asarray(source.pixels)}
        if source.masks is None:
            return rows
        return {**rows, "mask": np.asarray(source.masks)}

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        """With "mask", (n, H, W), the share to be filled from 0 to 1, and "pixels" with grey where it is 1."""
        pixels = flip(np.asarray(rows["pixels"]), rows["flipped"])
        if "mask" in rows:
            mask = flip(rows["mask"], rows["flipped"])
        else:
            mask = np.stack([self.masks(rng, self.size) for rng in rngs])
        left = np.where(rearrange(mask, "n h w -> n h w 1") >= 1, np.uint8(GREY), pixels)
        return {**rows, "pixels": left, "mask": mask}

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """The image with a grey hole."""
        return np.asarray(rows["pixels"])

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch: "pixels", uint8 (b, H, W, C), and "mask", (b, H, W)."""
        mask = rearrange(batch["mask"], "b h w -> b 1 h w").float()
        x = rearrange(batch["pixels"], "b h w c -> b c h w").float() / 127.5 - 1
        z = self.encode(x * (1 - mask))  # exactly zero, which no grey level is
        return Cond(spatial=torch.cat([z.to(x.device), 2 * F.adaptive_max_pool2d(mask, z.shape[2:]) - 1], dim=1))

    def null(self, like: Cond) -> Cond:
        if like.spatial is None:
            return Cond()
        height, width = (self.downsample * side for side in like.spatial.shape[2:])
        shape, device = (1, height, width), like.spatial.device
        pixels = torch.zeros(*shape, self.channels, dtype=torch.uint8, device=device)
        one = self.embed({"pixels": pixels, "mask": torch.ones(shape, device=device)}).spatial
        return Cond(spatial=repeat(one, "1 c h w -> n c h w", n=len(like.spatial)))
