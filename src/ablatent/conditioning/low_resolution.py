"""Super-resolution: the image, made smaller and degraded (Rombach et al. 2022, section 4.4 and appendix D.6)."""

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch.nn.functional as F
from annotated_types import Ge, Le, Len
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageFilter
from torch import Tensor

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.source import Source
from ablatent.conditioning.spatial import check_range, flip, no_map
from ablatent.core.errors import ConfigError
from ablatent.core.fields import NotNegative, OneOf, Probability
from ablatent.core.images import levels, picture
from ablatent.core.types import Cond

DEGRADATIONS = ("bicubic", "blur_noise")


class LowResolution(Conditioner):
    """The image at 1 / factor of its side, in [-1, 1], resized to the latents' resolution where the two differ.

    degradation: "bicubic" (with antialiasing, as in SR3 and the paper's models) makes it small; "blur_noise" also
    blurs it before (Gaussian, of another width in each direction) and adds noise and JPEG's losses afterwards, as the
    "light" pipeline of BSRGAN (Zhang et al. 2021) does, in fixed order. blur: range of the Gaussian's deviation, in
    small pixels; noise: range of that of the noise, in grey levels; jpeg: range of its quality, or None for none. The
    null condition is grey (zero) everywhere.
    """

    needs = ("pixels",)
    filled = ("size", "latent_shape", "channels")

    def __init__(
        self,
        *,
        size: int,
        latent_shape: Sequence[int],
        channels: int = 3,
        factor: Annotated[int, Ge(2), "how many times smaller its side is"] = 4,
        degradation: Annotated[
            Annotated[str, OneOf(("bicubic", "blur_noise"))],
            "blur_noise: blur before, noise and JPEG after",
        ] = "bicubic",
        blur: Annotated[
            Sequence[NotNegative], Len(2, 2), "[lowest, highest] sigma of the blur in pixels of the small image"
        ] = (0.1, 0.8),
        noise: Annotated[Sequence[NotNegative], Len(2, 2), "[lowest, highest] sigma of the noise in grey levels"] = (
            0.0,
            15.0,
        ),
        jpeg: Annotated[
            Annotated[Sequence[Annotated[int, Ge(1), Le(100)]], Len(2, 2)] | None,
            "[lowest, highest] quality; null: no JPEG",
        ] = (60, 95),
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.0,
    ) -> None:
        super().__init__(dropout)
        if not isinstance(factor, int) or factor < 2 or size % factor:
            raise ConfigError("conditioner.factor", f"an integer >= 2 that divides data.size={size}", factor)
        if degradation not in DEGRADATIONS:
            raise ConfigError("conditioner.degradation", " or ".join(DEGRADATIONS), degradation)
        self.blur = check_range("conditioner.blur", blur, 0, 10)
        self.noise = check_range("conditioner.noise", noise, 0, 255)
        self.jpeg = None if jpeg is None else check_range("conditioner.jpeg", jpeg, 1, 100)
        self.size, self.small, self.factor, self.kind = size, size // factor, factor, degradation
        self.low_resolution_size = self.small
        self.side, self.spatial_channels = tuple(latent_shape[1:]), channels

    def rows(self, source: Source) -> Rows:
        """The images; or the source's small ones, as they are."""
        if source.low_resolution is not None:
            side = source.low_resolution.shape[1:3]
            if side != (self.small, self.small):
                expected = f"images of {self.small}x{self.small}, {self.factor} times smaller than the model's"
                raise ConfigError("low_resolution", expected, f"{side[1]}x{side[0]}")
            return {"low": source.low_resolution}
        source.check(self.needs)
        return {"pixels": np.asarray(source.pixels)}

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        """The small images, uint8 (n, s, s, C), as "low" in place of the images."""
        kept = {k: v for k, v in rows.items() if k != "pixels"}
        if "pixels" in rows:
            pixels = np.asarray(rows["pixels"])
            kept["low"] = np.stack([self._degraded(p, rng) for p, rng in zip(pixels, rngs, strict=True)])
        return {**kept, "low": flip(kept["low"], rows["flipped"])}

    def degradation(self) -> dict[str, Any]:
        return {
            "factor": self.factor,
            "degradation": self.kind,
            "blur": self.blur,
            "noise": self.noise,
            "jpeg": self.jpeg,
        }

    def _degraded(self, pixels: UInt8[np.ndarray, "H W C"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s C"]:
        image = picture(pixels)
        if self.kind == "blur_noise":
            x, y = rng.uniform(*self.blur, size=2) * self.factor
            image = image.filter(ImageFilter.GaussianBlur((float(x), float(y))))
        small = levels(image.resize((self.small, self.small), Image.Resampling.BICUBIC))
        if self.kind == "bicubic":
            return small
        noisy = small + rng.uniform(*self.noise) * rng.standard_normal(small.shape)
        small = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        return small if self.jpeg is None else _compressed(small, round(rng.uniform(*self.jpeg)))

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """The small images, their pixels enlarged to blocks."""
        low = np.asarray(rows["low"])
        return low.repeat(self.factor, axis=1).repeat(self.factor, axis=2)

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["low"]: uint8 (b, s, s, C)."""
        x = rearrange(batch["low"], "b h w c -> b c h w").float() / 127.5 - 1
        if x.shape[2:] != self.side:
            mode = "area" if x.shape[2] > self.side[0] else "bilinear"
            x = F.interpolate(x, self.side, mode=mode)
        return Cond(spatial=x)

    def null(self, like: Cond) -> Cond:
        return no_map(like)


def _compressed(image: UInt8[np.ndarray, "s s C"], quality: int) -> UInt8[np.ndarray, "s s C"]:
    data = io.BytesIO()
    picture(image).save(data, format="JPEG", quality=quality)
    with Image.open(data) as compressed:
        return levels(compressed)
