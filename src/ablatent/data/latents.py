"""Cached latents: moments of every image, index-aligned with the images, and their scale."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.files import read_json, write_json

PER = ("channel", "scalar", "none")


@dataclass(frozen=True)
class ChannelMoments:
    """What is known of raw latents by channel, (c,) float64 each.

    mean, variance: of the encoder's means; noise: the mean of its squared deviations, E[std²]; deviation: the mean of
    these deviations.
    """

    mean: Float64[np.ndarray, " c"]
    variance: Float64[np.ndarray, " c"]
    noise: Float64[np.ndarray, " c"]
    deviation: Float64[np.ndarray, " c"]

    @staticmethod
    def of(parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]], count: int) -> "ChannelMoments":
        """Over (mean, std) of images, (k, c, h, w) each, of all parts; how images are dealt out to them changes no bit.

        parts: called twice, so that no more than a part need be in memory. count: the values of a channel in all.
        """
        names = ("mean", "noise", "deviation")
        sums = _sums((mean, np.square(std, dtype=np.float64), std) for mean, std in parts())
        found = {name: total / count for name, total in zip(names, sums, strict=True)}
        centre = found["mean"][:, None, None]
        (squares,) = _sums((np.square(mean.astype(np.float64) - centre),) for mean, _ in parts())
        return ChannelMoments(variance=squares / count, **found)


def _sums(parts: Iterable[tuple[np.ndarray, ...]]) -> list[Float64[np.ndarray, " c"]]:
    """Of each array in float64 by channel, image after image."""
    sums: list[np.ndarray] = []
    for part in parts:
        rows = [array.sum((2, 3), dtype=np.float64) for array in part]
        before = sums or [row[:0] for row in rows]
        sums = [np.add.reduce(np.vstack([b, row]), axis=0) for b, row in zip(before, rows, strict=True)]
    return sums


@dataclass(frozen=True)
class LatentNormalizer:
    """raw latents <-> latents of unit variance, so that the noise schedule means the same for every first stage.

    shift, scale: (c,) raw mean and deviation over the training images; the variance counts the encoder's own
    noise, Var(mean) + E[std²]. Rombach et al. 2022, section 4.3.2 and appendix D.1 use one scale for all channels.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @staticmethod
    def fit(moments: "ChannelMoments", per: str) -> "LatentNormalizer":
        """Shift and scale of training images with these moments. per: channel | scalar | none (no change).

        Raises ConfigError for another `per`.
        """
        if per not in PER:
            raise ConfigError("latents.normalizer", " | ".join(PER), per)
        shift, variance, noise = moments.mean, moments.variance, moments.noise
        ones = np.ones(len(shift))
        if per == "none":
            return LatentNormalizer((0.0,) * len(shift), (1.0,) * len(shift))
        if per == "scalar":
            variance = (variance + np.square(shift - shift.mean())).mean()
            shift, noise = shift.mean(), noise.mean()
        scale = np.sqrt(variance + noise)
        return LatentNormalizer(tuple((ones * shift).tolist()), tuple((ones * np.maximum(scale, 1e-6)).tolist()))

    def _parts(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shift = torch.tensor(self.shift, dtype=like.dtype, device=like.device)[:, None, None]
        scale = torch.tensor(self.scale, dtype=like.dtype, device=like.device)[:, None, None]
        return shift, scale

    def normalize(self, raw: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Latents of mean 0 and variance 1 over the training images, from raw ones."""
        shift, scale = self._parts(raw)
        return (raw - shift) / scale

    def denormalize(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Raw latents, as the first stage decodes them, from normalised ones."""
        shift, scale = self._parts(z)
        return z * scale + shift

    def save(self, path: Path) -> None:
        """Write shift and scale as JSON."""
        write_json(path, {"shift": list(self.shift), "scale": list(self.scale)})

    @staticmethod
    def load(path: Path) -> "LatentNormalizer":
        """Read what `save` wrote."""
        values = read_json(path)
        return LatentNormalizer(tuple(values["shift"]), tuple(values["scale"]))


@dataclass(frozen=True)
class Latents:
    """The cached latents of every image.

    mean, std: memory-mapped (views, n, c, h, w) float32 raw moments; view 1, where cached, is the mirrored image.
    """

    mean: np.ndarray
    std: np.ndarray
    normalizer: LatentNormalizer

    @staticmethod
    def load(folder: Path) -> "Latents":
        """Open mean.npy, std.npy and normalizer.json of a latents stage; the arrays stay on disk."""
        mean = np.load(folder / "mean.npy", mmap_mode="r")
        std = np.load(folder / "std.npy", mmap_mode="r")
        return Latents(mean, std, LatentNormalizer.load(folder / "normalizer.json"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the latents of an image."""
        _, _, c, h, w = self.mean.shape
        return c, h, w

    def draw(self, views: np.ndarray, rows: np.ndarray, noise: np.ndarray) -> Float[Tensor, "b c h w"]:
        """Normalised samples mean + std · noise of the given (view, row) pairs; noise: N(0, 1), (b, c, h, w)."""
        raw = self.mean[views, rows] + self.std[views, rows] * noise
        return self.normalizer.normalize(torch.from_numpy(raw))
