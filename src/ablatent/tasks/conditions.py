"""The conditions of samples: labels in turn, those of validation images in turn, or those of a request."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ablatent.conditioning.base import Conditioner, Rows
from ablatent.conditioning.source import Source
from ablatent.core.images import levels, picture
from ablatent.core.rng import stream
from ablatent.data.base import Annotations


def labels_in_turn(indices: Sequence[int], classes: Sequence[str]) -> Source:
    """Balanced labels: sample i has class i mod len(classes), whatever else is drawn."""
    labels = np.asarray(indices, dtype=np.int64) % len(classes)
    return Source(len(labels), Annotations(labels, tuple(classes)))


def conditions_in_turn(conditioner: Conditioner, indices: Sequence[int], validation_source: Source) -> Source:
    """The conditions of the samples of these indices, a row an index.

    validation_source: validation images with their annotations; sample i takes those of image i mod n, but for a class
    alone, which goes in turn.
    """
    if set(conditioner.needs) == {"labels"}:
        return labels_in_turn(indices, validation_source.annotations.classes)
    if not conditioner.needs:
        return Source(len(indices), Annotations())
    return validation_source.rows(np.asarray(indices, dtype=np.int64) % validation_source.n)


def conditions(conditioner: Conditioner, source: Source, seed: int, indices: Sequence[int]) -> Rows:
    """The fields that `embed` takes, a row an index; what is random in them (masks) is a function of seed and index."""
    rows = conditioner.rows(source)
    if not rows:
        return {}
    flipped = np.zeros(source.n, dtype=bool)
    return conditioner.draw({**rows, "flipped": flipped}, [stream(seed, "condition", i) for i in indices])


def enlarged(rows: Rows, size: tuple[int, int]) -> UInt8[np.ndarray, "n H W C"]:
    """The small images of a condition at this (height, width), by bicubic interpolation.

    Raises ValueError for a condition without any.
    """
    small = next((v for name, v in rows.items() if name.split(".")[-1] == "low"), None)
    if small is None:
        raise ValueError("the condition has no small images")
    images = [picture(np.asarray(p)) for p in small]
    return np.stack([levels(p.resize(size[::-1], Image.Resampling.BICUBIC)) for p in images])
