"""Whether samples are copies of training images.

Alaa et al. 2022, "How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and Auditing Generative
Models", section 3.3 (authenticity).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from ablatent.core.errors import DataError
from ablatent.core.fields import Count
from ablatent.evaluation.intervals import WILSON, wilson
from ablatent.evaluation.neighbours import BLOCK, across_sets
from ablatent.evaluation.scores import Metric, Score, check_knobs, counts

REMARK = (
    "Authenticity is the share of samples that are further from the nearest training image than that one is from its "
    "own nearest. Held-out images show what to expect of images that are not copied; far below it, samples are copies, "
    "and far above it they are like no real image."
)


@dataclass(frozen=True)
class Authenticity(Metric):
    """The share of samples y whose nearest real image x is nearer to another real image than to y (Alaa et al. 2022).

    Real images must be those of the training: of others nothing can have been copied. About 0.5 for fresh samples of
    the distribution itself where the reference is dense, 0 for copies, and 1 for noise: so it is no score to be
    maximised, and stands beside that of held-out images.
    """

    batch_size: Annotated[Count, "features compared at once"] = BLOCK

    training_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_knobs("authenticity", batch_size=self.batch_size)

    @property
    def min_images(self) -> int:
        return 2

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        if real is None or not len(fake) or len(real) < 2:
            raise DataError(f"authenticity: expected samples, and at least 2 real images; got {counts(fake, real)}.")
        nearest = across_sets(fake, real, 1, self.batch_size)
        found, place = np.unique(nearest.indices[:, 0].numpy(), return_inverse=True)
        around = across_sets(real[found], real, 2, self.batch_size)
        # itself is at distance 0, or nearly so by rounding: the other one is not itself, or a duplicate of it
        itself = around.indices[:, 0] == torch.from_numpy(found)
        next_real = torch.where(itself, around.distances[:, 1], around.distances[:, 0])[torch.from_numpy(place)]
        share = float((nearest.distances[:, 0] > next_real).double().mean())
        protocol = counts(fake, real) | {"nearest_among": "the reference"}
        score = Score(
            share,
            None,
            protocol,
            interval=wilson(share, len(fake)),
            interval_by=WILSON,
            label="authenticity",
            better=None,
            remark=REMARK,
        )
        return {"authenticity": score}
