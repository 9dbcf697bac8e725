"""Random changes of images that leave what is in them as it is. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Whole
from ablatent.core.rng import stream


@dataclass(frozen=True)
class ShiftMirror:
    """Moves each image by up to `shift` pixels either way, and mirrors half of them where `mirror` is on.

    What comes in at an edge repeats the edge. What happens to sample i is a function of (seed, i) alone.
    """

    shift: Annotated[Whole, "largest shift in pixels, either way"]
    mirror: Annotated[bool, "mirror every other image"]

    def __post_init__(self) -> None:
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or self.shift < 0:
            raise ConfigError("judge.augment.shift", "a number of pixels, an integer of at least 0", self.shift)
        if not isinstance(self.mirror, bool):
            raise ConfigError("judge.augment.mirror", "true or false", self.mirror)

    def __call__(self, seed: int, samples: Sequence[int], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """arrays: (len(samples), H, W, …) each, all changed in the same way: images and maps of their pixels."""
        moved = tuple(np.empty_like(array) for array in arrays)
        for k, sample in enumerate(samples):
            rng = stream(seed, "augment", sample)
            down, right = rng.integers(-self.shift, self.shift + 1, size=2)
            mirrored = self.mirror and rng.random() < 0.5
            for array, out in zip(arrays, moved, strict=True):
                height, width = array.shape[1:3]
                rows = np.clip(np.arange(height) - down, 0, height - 1)
                columns = np.clip(np.arange(width) - right, 0, width - 1)
                out[k] = array[k][rows][:, columns[::-1] if mirrored else columns]
        return moved
