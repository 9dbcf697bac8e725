"""What every metric does: finite scores with a protocol, the same each time, better for equal sets than for others."""

import json
import math

import numpy as np
from jaxtyping import Float

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, invariant
from ablatent.evaluation.scores import Metric, Score

WIDTH, LEAST = 8, 200


def made(option: Option) -> Metric:
    """The metric; nothing is loaded for it."""
    return option.make(Metric)


def scores(metric: Metric, shift: float) -> dict[str, Score]:
    """Its scores of features that are `shift` deviations away from the real ones."""
    n = max(LEAST, metric.min_images, metric.min_real)
    real, fake = features(n, 0), features(n, 1) + shift
    return metric(fake, None if metric.against == "nothing" else real)


def features(n: int, seed: int) -> Float[np.ndarray, "n d"]:
    """Made-up features, positive as probabilities' logits may be: (n, WIDTH) float64."""
    return np.random.default_rng(seed).normal(size=(n, WIDTH))


@invariant
def scores_are_finite_with_a_protocol(option: Option) -> None:
    """Each score is finite, with a label, and a protocol of plain values that says how many images were compared."""
    for name, score in scores(made(option), 0.5).items():
        expect(math.isfinite(score.value), f"a finite {name}", score.value)
        expect(score.label, f"a label of {name}", "none")
        expect(json.loads(json.dumps(score.protocol)) == score.protocol, "a protocol of plain values", score.protocol)
        expect(any("count" in key for key in score.protocol), "the counts in the protocol", score.protocol)
        expect(score.interval is None or score.interval_by, f"the method of the interval of {name}", "none")


@invariant
def is_deterministic(option: Option) -> None:
    """The same features give the same scores, also by another instance."""
    one, two = scores(made(option), 0.5), scores(made(option), 0.5)
    values = [{name: score.value for name, score in found.items()} for found in (one, two)]
    expect(values[0] == values[1], f"the same scores {values[0]}", values[1])


@invariant
def equal_sets_are_better(option: Option) -> None:
    """Features of the distribution of the real ones score better than others, in the direction that it declares."""
    metric = made(option)
    if metric.against != "real":
        return
    near, far = scores(metric, 0.0), scores(metric, 6.0)
    for name, score in near.items():
        if score.better is not None and name in far:
            sign = 1 if score.better == "lower" else -1
            right = sign * score.value < sign * far[name].value or (score.value == far[name].value and sign < 0)
            expect(right, f"{name} {score.better} for equal sets than for sets 6 deviations apart",
                   f"{score.value:.4g} against {far[name].value:.4g}")  # fmt: skip
