"""Cached latents: moments of every image, index-aligned with the images, and their scale."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.core.files import read_json, write_json

PER = ("channel", "scalar", "none")


@dataclass(frozen=True)
class LatentNormalizer:
    """raw latents <-> latents of unit variance, so that the noise schedule means the same for every first stage.

    shift, scale: (c,) raw mean and deviation over the training images; the variance counts the encoder's own
    noise, Var(mean) + E[std²]. Rombach et al. 2022, section 4.3.2 and appendix D.1 use one scale for all channels.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @staticmethod
    def fit(mean: np.ndarray, std: np.ndarray, per: str) -> "LatentNormalizer":
        """Shift and scale over the moments (n, c, h, w) of training images. per: channel | scalar | none (no change).

        Raises ConfigError for another `per`.
        """
        if per not in PER:
            raise ConfigError("latents.normalizer", " | ".join(PER), per)
        channels = mean.shape[1]
        if per == "none":
            return LatentNormalizer((0.0,) * channels, (1.0,) * channels)
        axes = (0, 2, 3) if per == "channel" else (0, 1, 2, 3)
        shift = mean.mean(axes, dtype=np.float64)
        scale = np.sqrt(mean.var(axes, dtype=np.float64) + np.square(std, dtype=np.float64).mean(axes))
        ones = np.ones(channels)
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
