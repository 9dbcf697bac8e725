"""Scores from logits: exp E KL(p(y|x) || p(y)). Salimans et al. 2016, "Improved Techniques for Training GANs"."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count, Seed, Text
from ablatent.evaluation.inception import InceptionExtractor
from ablatent.evaluation.intervals import MIN_IMAGES, Interval, around, within
from ablatent.evaluation.scores import Extractor, Metric, Score, counts

FEW_SPLITS = 5
"""Of fewer splits their values say little about the error of their mean."""
BY_SPLITS, INFLUENCE = "Student's t over splits", "influence of each sample, to first order"
OTHER_CLASSIFIER = "IS* uses another classifier than the Inception Score: compare it with itself only."


@dataclass(frozen=True)
class InceptionScore(Metric):
    """torch-fidelity's Inception Score over logits, mean and deviation over splits.

    name: "is" belongs to the FID Inception with its classifier alone; any other network needs another name. splits is
    an upper bound: at least 10 images a split, which the protocol states.
    """

    name: Annotated[Text, "of the score"]
    extractor: Annotated[Extractor, "of logits"]
    splits: Annotated[Count, "parts of the samples; the score is their mean"] = 10
    shuffle: Annotated[bool, "samples before they are split"] = True
    seed: Annotated[Seed, "of the shuffling"] = 2020

    against: ClassVar[str] = "nothing"

    @property
    def own_extractor(self) -> Extractor:
        return self.extractor

    @property
    def min_images(self) -> int:
        return 2

    def __post_init__(self) -> None:
        own = isinstance(self.extractor, InceptionExtractor) and self.extractor.layer == "logits_unbiased"
        if (self.name == "is") != own:
            expected = "'is' for the logits of the FID Inception, and for nothing else"
            raise ConfigError("evaluation.metrics.is.name", expected, f"{self.name} with {self.extractor.name}")
        if self.splits < 1:
            raise ConfigError(f"evaluation.metrics.{self.name}.splits", "an integer >= 1", self.splits)

    def check(self) -> None:
        """Raise ConfigError when the classifier cannot be had: refused by name, never replaced by another."""
        try:
            self.extractor.check()
        except ConfigError as error:
            other = (
                " is_effnet_lite0 is a similar score with another network, under its own name."
                if self.name == "is"
                else ""
            )
            raise ConfigError(
                f"evaluation.metrics.{self.name}", "a classifier", str(error), f"Leave the metric out.{other}"
            ) from error

    def __call__(
        self, fake: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"] | None = None
    ) -> dict[str, Score]:
        from torch_fidelity.metric_isc import isc_features_to_metric

        if len(fake) < self.min_images:
            raise DataError(f"{self.name}: expected at least {self.min_images} images; got {len(fake)}.")
        splits = min(self.splits, max(1, len(fake) // 10))
        result = isc_features_to_metric(torch.from_numpy(fake), splits, self.shuffle, self.seed)
        protocol = counts(fake, None) | {"splits": splits, "shuffle": self.shuffle, "seed": self.seed}
        notes = [] if splits == self.splits else [f"{splits} splits, not {self.splits}: too few images"]
        mean, std = result["inception_score_mean"], result["inception_score_std"]
        label, remark = ("IS", "") if self.name == "is" else (f"IS*{self.extractor.label}", OTHER_CLASSIFIER)
        if splits < FEW_SPLITS:
            interval, method = _by_influence(fake, mean), INFLUENCE
        else:
            interval, method = within(around(mean, std / np.sqrt(splits - 1), splits - 1), 1), BY_SPLITS
        score = Score(
            mean,
            std,
            protocol,
            notes,
            interval=interval,
            interval_by=method,
            label=label,
            better="higher",
            remark=remark,
        )
        return {self.name: score}


def _by_influence(logits: Float[np.ndarray, "n d"], value: float) -> Interval | None:
    """From the deviation of KL(p(y|x) || p(y)) over samples: to first order a sample changes log IS by its own less the
    mean, over n, since what it changes in p(y) adds up to 0 (Hampel 1974, "The influence curve")."""
    from scipy.special import log_softmax

    if len(logits) < MIN_IMAGES:
        return None
    of_sample = log_softmax(logits.astype(np.float64), axis=1)
    probability = np.exp(of_sample)
    marginal = np.log(np.maximum(probability.mean(axis=0), np.finfo(np.float64).tiny))
    divergence = (probability * (of_sample - marginal)).sum(axis=1)
    error = value * divergence.std(ddof=1) / np.sqrt(len(logits))
    return within(around(value, float(error), len(logits) - 1), 1)
