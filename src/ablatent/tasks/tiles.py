"""Decoding large latents tile by tile: memory for one tile, and a canvas without visible seams."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError


@dataclass(frozen=True)
class Tiling:
    """Tiles of `tile` x `tile` latents, of which neighbours share `overlap` or more.

    Of a shared strip of width O each tile's outer quarter counts for nothing: there its decoder looks beyond its edge.
    In between one tile fades out and the next fades in, linearly. So a decoder that looks at most O / 4 far gives what
    it gives for the whole; one with attention or group statistics gives nearly that. Raises ConfigError for bad values.
    """

    tile: int
    overlap: int

    def __post_init__(self) -> None:
        for name, value, least in (("tile", self.tile, 2), ("overlap", self.overlap, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"samples.decode_{name}", f"an integer of at least {least}", value)
        if self.overlap > self.tile // 2:
            expected = f"at most half of samples.decode_tile={self.tile}"
            raise ConfigError("samples.decode_overlap", expected, self.overlap)

    def starts(self, size: int) -> list[int]:
        """Where tiles begin along an axis of `size` latents; all are whole, so the last may share more."""
        if size <= self.tile:
            return [0]
        return [*range(0, size - self.tile, self.tile - self.overlap), size - self.tile]

    def shares(self, size: int, factor: int) -> list[Float[Tensor, " n"]]:
        """For each tile its weight in every pixel of an axis, float64 (size * factor,); all sum to 1.

        size: latents; factor: pixels a latent.
        """
        strip, end = self.overlap * factor, size * factor
        place = torch.arange(end, dtype=torch.float64) + 0.5
        weights = []
        for start in self.starts(size):
            first, last = start * factor, min(start + self.tile, size) * factor
            weight = ((place > first) & (place < last)).double()
            for distance, outermost in ((place - first, first == 0), (last - place, last == end)):
                if strip and not outermost:
                    weight = weight * ((distance - strip / 4) / (strip / 2)).clamp(0.0, 1.0)
            weights.append(weight)
        if not strip:  # tiles that share by chance, the last two: the later one counts
            for n, later in enumerate(weights[1:]):
                weights[n] = weights[n] * (later == 0)
        total = torch.stack(weights).sum(dim=0)
        return [weight / total for weight in weights]


def decode_in_tiles(
    decode: Callable[[Tensor], Tensor], z: Float[Tensor, "b c h w"], tiling: Tiling, factor: int
) -> Float[Tensor, "b C H W"]:
    """decode(z), by tiles where z is larger than one: (b, C, h * factor, w * factor), in the dtype that decode gives.

    decode: latents to images `factor` times larger. NaN of any tile are in the result.
    """
    height, width = z.shape[-2:]
    if max(height, width) <= tiling.tile:
        return decode(z)
    canvas = z.new_zeros(())
    columns = list(zip(tiling.starts(width), tiling.shares(width, factor), strict=True))
    for top, down in zip(tiling.starts(height), tiling.shares(height, factor), strict=True):
        for left, across in columns:
            x = decode(z[..., top : top + tiling.tile, left : left + tiling.tile])
            if canvas.ndim == 0:  # channels and dtype are the decoder's
                canvas = x.new_zeros((*x.shape[:2], height * factor, width * factor))
            rows = slice(top * factor, top * factor + x.shape[-2])
            cols = slice(left * factor, left * factor + x.shape[-1])
            canvas[..., rows, cols] += x * torch.outer(down[rows], across[cols]).to(x)
    return canvas
