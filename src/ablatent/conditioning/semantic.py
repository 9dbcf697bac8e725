"""Segmentation maps (Rombach et al. 2022, section 4.3.2: semantic synthesis by concatenation)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.palette import palette
from ablatent.conditioning.source import Source, data_with
from ablatent.conditioning.spatial import flip, no_map
from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Probability
from ablatent.core.types import Cond


class Semantic(Conditioner):
    """A learnable vector of `channels` values for each class of pixel, averaged down to the latents' resolution.

    It is the released models' SpatialRescaler (one-hot maps, rescaled, through a 1x1 convolution without bias), in the
    other order, which is the same and needs no one-hot maps. The null condition is zero everywhere.
    """

    needs = ("segmentation",)
    filled = ("segments", "latent_shape")

    def __init__(
        self,
        segments: int,
        latent_shape: Sequence[int],
        channels: Annotated[Count, "of the map, after one learnable vector a class"] = 3,
        dropout: Annotated[
            Probability, "probability of the null condition in training; 0.1 is common for classifier-free guidance"
        ] = 0.1,
    ):
        super().__init__(dropout)
        if segments < 1:
            raise ConfigError("conditioner", "data with segmentation maps", "none", data_with("segmentation"))
        if not isinstance(channels, int) or channels < 1:
            raise ConfigError("conditioner.channels", "an integer >= 1", channels)
        self.segments, self.side, self.spatial_channels = segments, tuple(latent_shape[1:]), channels
        self.embedding = nn.Embedding(segments, channels)

    def rows(self, source: Source) -> Rows:
        source.check(self.needs)
        return {"segmentation": np.asarray(source.annotations.segmentation)}

    def draw(self, rows: Rows, rngs: Sequence[np.random.Generator]) -> Rows:
        return {**rows, "segmentation": flip(rows["segmentation"], rows["flipped"])}

    def shown(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"] | None:
        """A colour a class."""
        return palette(self.segments)[np.asarray(rows["segmentation"])]

    def embed(self, batch: Mapping[str, Tensor]) -> Cond:
        """batch["segmentation"]: uint8 (b, H, W), classes of pixels."""
        vectors = self.embedding(batch["segmentation"].to(self.embedding.weight.device).long())
        return Cond(spatial=F.interpolate(rearrange(vectors, "b h w c -> b c h w"), self.side, mode="area"))

    def null(self, like: Cond) -> Cond:
        return no_map(like)
