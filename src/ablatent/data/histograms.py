"""What latents look like as diffusion sees them: histograms and moments of each channel."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

LIMIT, BINS = 6.0, 60  # deviations of a unit normal distribution, and bins between -LIMIT and LIMIT


@dataclass
class ChannelHistograms:
    """Counts over fixed bins, and sums, of latents that are added batch by batch."""

    channels: int
    counts: Int[np.ndarray, "c bins"] = field(init=False)
    outside: Int[np.ndarray, " c"] = field(init=False)
    sums: Float[np.ndarray, "2 c"] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.channels, BINS), dtype=np.int64)
        self.outside = np.zeros(self.channels, dtype=np.int64)
        self.sums = np.zeros((2, self.channels))

    def add(self, z: Float[np.ndarray, "b c h w"]) -> None:
        """Count normalised latents; those beyond the outermost bins are counted apart."""
        for channel in range(self.channels):
            values = z[:, channel].ravel()
            inside, _ = np.histogram(values, bins=BINS, range=(-LIMIT, LIMIT))
            self.counts[channel] += inside
            self.outside[channel] += values.size - inside.sum()
            self.sums[:, channel] += values.sum(dtype=np.float64), np.square(values, dtype=np.float64).sum()

    def as_json(self) -> dict[str, Any]:
        """edges (bins + 1), counts (a list for each channel), outside, mean and std of each channel."""
        n = self.counts.sum(axis=1) + self.outside
        mean = self.sums[0] / n
        std = np.sqrt(np.maximum(self.sums[1] / n - mean**2, 0.0))
        return {
            "edges": np.linspace(-LIMIT, LIMIT, BINS + 1).tolist(),
            "counts": self.counts.tolist(),
            "outside": self.outside.tolist(),
            "mean": mean.tolist(),
            "std": std.tolist(),
        }
