"""Whether there are enough images, of each split and of the samples, for every metric that is to be measured."""

from collections.abc import Mapping
from typing import Any

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.data.base import ImageData
from ablatent.data.counts import Counts
from ablatent.evaluation.scores import Metric

Config = Mapping[str, Any]
FRACTIONS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Shares of held-out images that messages suggest, where one of them suffices."""


def check_reconstruction_count(config: Config) -> None:
    """Check that there are enough validation images for the metrics of reconstructions. Raises ConfigError."""
    evaluation, data = config["evaluation"], config["data"]
    wanted = list(evaluation["reconstruction_metrics"])
    metrics = {name: metric for name, metric in made(evaluation["metrics"]).items() if name in wanted}
    if of_training := [name for name, metric in metrics.items() if metric.training_images]:
        expected = f"metrics of any real images; {of_training[0]} compares samples with those of the training"
        raise ConfigError("evaluation.reconstruction_metrics", expected, wanted, "Leave it out there.")
    check_count("evaluation.reconstruction_count", evaluation["reconstruction_count"], metrics)
    there = counts_of(data).validation
    if not (short := beyond(metrics, there)):
        return
    left = ",".join(name for name in wanted if name not in short)
    do = f"Leave {'it' if len(short) == 1 else 'them'} out: evaluation.reconstruction_metrics=[{left}]."
    shares = FRACTIONS if "validation_fraction" in data else ()
    for share in shares:
        if not beyond(metrics, counts_of({**data, "validation_fraction": share}).validation):
            do = f"Hold more images out, data.validation_fraction={share}. Or l{do[1:]}"
            break
    raise too_few("evaluation.reconstruction_metrics", short, there, "validation", do)


def check_sample_count(config: Config) -> None:
    """Check that there are enough samples, and training images beside them, for all metrics. Raises ConfigError."""
    evaluation, metrics = config["evaluation"], made(config["evaluation"]["metrics"])
    against_real = {name: metric for name, metric in metrics.items() if metric.against == "real"}
    check_count("samples.count", config["samples"]["count"], metrics)
    check_count("evaluation.reference_count", evaluation["reference_count"], against_real, of_real=True)
    there = counts_of(config["data"]).train
    if short := beyond(against_real, there, of_real=True):
        do = f"Leave {'it' if len(short) == 1 else 'them'} out: {' '.join(f'~evaluation.metrics.{n}' for n in short)}."
        raise too_few("evaluation.metrics", short, there, "training", do)


def counts_of(data: Config) -> Counts:
    """How many images a data node has. Raises ConfigError or DataError for data that is not there."""
    counts: Counts = make(data, ImageData).counts()
    return counts


def made(metrics: Config) -> dict[str, Metric]:
    """Name → metric of these nodes."""
    return {name: make(node, Metric) for name, node in metrics.items()}


def beyond(metrics: Mapping[str, Metric], count: int, of_real: bool = False) -> dict[str, int]:
    """Name → least number of images, of the metrics that have no value for so many; of_real: in the reference."""
    least = {name: metric.min_real if of_real else metric.min_images for name, metric in metrics.items()}
    return {name: number for name, number in least.items() if number > count}


def check_count(key: str, count: int | None, metrics: Mapping[str, Metric], of_real: bool = False) -> None:
    """Raise ConfigError, which names `key`, for a number of images (None: all) that is too small for a metric."""
    if count is not None and (short := beyond(metrics, count, of_real)):
        least = max(short.values())
        raise ConfigError(key, f"an integer of at least {least}, which {', '.join(short)} must have", count)


def too_few(key: str, short: Mapping[str, int], there: int, split: str, do: str) -> ConfigError:
    """The error for metrics that need more images than a split has."""
    expected = " and ".join(f"at least {least} {split} images for {name}" for name, least in short.items())
    return ConfigError(key, expected, f"{there} {split} image{'s' if there != 1 else ''}", do)
