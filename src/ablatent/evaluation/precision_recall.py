"""Precision (fakes inside the real manifold) and recall (reals inside the fake one). Kynkäänniemi et al. 2019."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count
from ablatent.evaluation.scores import Metric, Score, counts


@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """Improved precision and recall by torch-fidelity: balls to the k-th neighbour, batch_size rows at once."""

    neighborhood: Annotated[Count, "k of the k-th nearest neighbour (Kynkäänniemi et al. 2019)"] = 3
    batch_size: Annotated[Count, "features compared at once"] = 4096

    def __post_init__(self) -> None:
        for name in ("neighborhood", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.metrics.precision_recall.{name}", "an integer >= 1", getattr(self, name))

    @property
    def min_images(self) -> int:
        return self.neighborhood + 1

    def __call__(self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None) -> dict[str, Score]:
        from torch_fidelity.metric_prc import prc_features_to_metric

        least = self.min_images
        if real is None or min(len(fake), len(real)) < least:
            raise DataError(f"precision_recall: expected at least {least} images a set; got {counts(fake, real)}.")
        result = prc_features_to_metric(
            torch.from_numpy(fake),
            torch.from_numpy(real),
            prc_neighborhood=self.neighborhood,
            prc_batch_size=self.batch_size,
            save_cpu_ram=True,  # otherwise all distances are held at once
            verbose=False,
        )
        protocol = counts(fake, real) | {"neighborhood": self.neighborhood}
        return {
            name: Score(result[name], None, dict(protocol), label=name, better="higher")
            for name in ("precision", "recall")
        }
