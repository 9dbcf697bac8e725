"""What the command scores: folders of images, batch files of images, and files of statistics; and FID by the latter."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.weights import digest_tensors
from ablatent.evaluation.features import SetFeatures
from ablatent.evaluation.fid import FID, fid_score
from ablatent.evaluation.folders import FolderImages
from ablatent.evaluation.frechet import FeatureMoments
from ablatent.evaluation.scores import Extractor, Metric, Score, small_sample_notes, versions
from ablatent.evaluation.statistics import MEAN, SPATIAL_MEAN, SUFFIX, BatchFile, Statistics, has_images

ImageSource = FolderImages | BatchFile
Source = ImageSource | Statistics
SPATIAL = "spatial"
"""The layer of the extractor whose moments stand in a file as the spatial ones."""


def source_of(path: Path, reader: str) -> Source:
    """A folder, or a .npz file of images or moments. Raises DataError for what is neither, and for what it lacks."""
    if path.suffix != SUFFIX or path.is_dir():
        return FolderImages(path, reader)
    return BatchFile(path) if has_images(path) else Statistics.read(path)


def lines_of(path: Path, source: Source) -> Iterable[str]:
    """What a user should know of a source."""
    if isinstance(source, Statistics):
        spatial = f", and of {len(source.arrays[SPATIAL_MEAN])} spatial ones" if SPATIAL_MEAN in source.arrays else ""
        yield (
            f"{path}: moments of {len(source.arrays[MEAN])} features{spatial}; of which network, and of how many "
            "images, it does not say"
        )
    elif isinstance(source, BatchFile):
        yield source.describe()
    else:
        yield from source.describe()


def by_moments(
    metrics: Mapping[str, Metric], real: Source, fake: Source
) -> tuple[dict[str, Metric], dict[str, FID], list[str]]:
    """(metrics of features, those that moments are enough for, names of those that are left out), where a source has
    moments alone. Raises ConfigError where nothing is left."""
    if not isinstance(real, Statistics) and not isinstance(fake, Statistics):
        return dict(metrics), {}, []
    distances = {name: metric for name, metric in metrics.items() if isinstance(metric, FID)}
    alone = {
        name: metric
        for name, metric in metrics.items()
        if metric.against != "real" and not isinstance(fake, Statistics)
    }
    left_out = [name for name in metrics if name not in distances and name not in alone]
    if not distances and not alone:
        do = "Give folders of images, or --metrics=fid."
        raise ConfigError("--metrics", "a metric that moments are enough for: fid", ", ".join(metrics), do)
    return alone, distances, left_out


def score_moments(
    metrics: Mapping[str, FID],
    extractor: Extractor,
    named: Mapping[str, tuple[Path, Source]],
    features: Mapping[str, SetFeatures],
) -> dict[str, Score]:
    """FID where at least one of two sources has moments alone. named: "real" and "fake" → where it is from, and it;
    features: of those that are images. Raises DataError for moments of other features than the extractor's."""
    scores = {}
    for metric in metrics.values():
        moments, protocol = {}, dict[str, object]()
        for which, (path, source) in named.items():
            if isinstance(source, Statistics):
                moments[which] = _moments(path, source, extractor)
                about = {"mean": _tensor(moments[which].mean), "covariance": _tensor(moments[which].covariance)}
                protocol[f"{which}_moments"] = digest_tensors(about)
            else:
                moments[which] = FeatureMoments.of(features[which](extractor))
                protocol[f"count_{which}"] = len(features[which].images)
        value = moments["fake"].distance(moments["real"])
        notes = ["moments from a file: that they are of this network's features, resized as here, is taken for granted"]
        interval = None
        if "fake" in features:
            drawn = features["fake"](extractor)
            interval = metric.interval(value, drawn, moments["real"])
            notes += small_sample_notes(drawn, drawn)
        score = fid_score(value, {}, notes, interval)
        name, label = extractor.renamed.get("fid", ("fid", score.label))
        protocol |= score.protocol | extractor.protocol() | {"versions": versions()}
        scores[name + extractor.suffix] = replace(score, protocol=protocol, label=label + extractor.label)
    return scores


def statistics_of(
    extractor: Extractor, spatial: Extractor | None, features: Callable[[Extractor], np.ndarray]
) -> Statistics:
    """The moments of a set's features, and of its spatial ones where their extractor is given."""
    return Statistics.of(features(extractor), None if spatial is None else features(spatial))


def _moments(path: Path, source: Statistics, extractor: Extractor) -> FeatureMoments:
    mean = source.arrays.get(SPATIAL_MEAN if extractor.layer == SPATIAL else MEAN)
    if mean is None or len(mean) != extractor.dim:
        got = "none that are spatial" if mean is None else len(mean)
        raise DataError(f"{path}: expected moments of {extractor.dim} features, those of {extractor.name}; got {got}.")
    return source.moments_of(SPATIAL_MEAN if extractor.layer == SPATIAL else MEAN)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
