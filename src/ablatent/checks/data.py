"""What every data set does: fixed rows and splits, digests of what decides them, images with annotations."""

import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.checks.option import Option
from ablatent.checks.suite import expect, invariant
from ablatent.data.base import TRAIN, VALIDATION, ImageData, Row
from ablatent.data.decode import in_channels
from ablatent.data.prepared import load_images

SHOWN = 6
"""Images that are decoded."""
FEW = 2
"""Training images of a limit."""


def made(option: Option, **changes: Any) -> ImageData:
    """The data set; of its files nothing is read yet."""
    return option.make(ImageData, **changes)


@invariant
def rows_and_splits_are_fixed(option: Option) -> None:
    """Rows have distinct ids, the same each time, in a training and a validation split that both have some."""
    rows = made(option, limit=None).rows()
    ids = [row.id for row in rows]
    expect(len(set(ids)) == len(ids), "distinct ids", f"{len(ids) - len(set(ids))} that repeat")
    expect(made(option, limit=None).rows() == rows, "the same rows of another instance", "others")
    splits = {row.split for row in rows}
    expect(splits == {TRAIN, VALIDATION}, "images in both splits, 0 train and 1 validation", sorted(splits))


@invariant
def a_limit_takes_a_part(option: Option) -> None:
    """`limit` takes so many training rows, of which a larger limit takes all."""
    small, large = (made(option, limit=n).rows() for n in (FEW, 2 * FEW))
    count = sum(row.split == TRAIN for row in small)
    expect(count == FEW, f"{FEW} training images with limit={FEW}", count)
    expect({row.id for row in small} <= {row.id for row in large}, "all of them in a larger limit", "others")


@invariant
def digests_follow_what_decides(option: Option) -> None:
    """The digests are the same each time, and that of the images changes with size, channels and limit."""
    digests = made(option).fingerprint()
    expect(made(option).fingerprint() == digests, "the same digests of another instance", "others")
    side = int(option.node["size"])
    for changes in ({"size": side * 2}, {"size": side // 2}, {"limit": FEW}):
        other = made(option, **changes)
        if replace(other, limit=None) == replace(made(option), limit=None) and other.rows() == made(option).rows():
            continue  # a limit that cuts nothing changes nothing
        apart = other.fingerprint().images != digests.images
        expect(apart, f"another digest of the images with {changes}", "the same")


@invariant
def images_are_decoded(option: Option) -> None:
    """Images are (size, size, 3) uint8, in the order of the rows, the same each time and for any rows around them."""
    data = made(option)
    rows = _some(data)
    images = [np.asarray(image) for image in data.images(rows)]
    expect(len(images) == len(rows), f"{len(rows)} images", len(images))
    for image in images:
        right = image.dtype == np.uint8 and image.shape[:2] == (data.size, data.size)
        expect(right, f"uint8 of the shape {(data.size, data.size, 3)}", (str(image.dtype), image.shape))
    alone = next(iter(data.images(rows[-1:])))
    expect(np.array_equal(alone, images[-1]), "the same image of a row alone", "another")
    expect(len({image.tobytes() for image in images}) > 1 or len(images) == 1, "images that differ", "one image")


@invariant
def is_prepared_as_it_is_drawn(option: Option) -> None:
    """What `prepare` writes is read back: pixels, ids and splits in the order of the rows."""
    data = made(option, limit=FEW)
    rows = data.rows()
    with tempfile.TemporaryDirectory() as folder:
        data.prepare(Path(folder))
        images = load_images(Path(folder))
        expect(images.ids == [row.id for row in rows], "the ids of the rows", images.ids[:4])
        expect(
            images.split.tolist() == [row.split for row in rows], "the splits of the rows", images.split[:8].tolist()
        )
        drawn = next(iter(data.images(rows[:1])))
        same = np.array_equal(images.pixels[0], in_channels(drawn, data.channels))
        expect(same, "the pixels of the first image", "others")


@invariant
def annotations_fit_their_rows(option: Option) -> None:
    """Annotations have a row an image, with classes and boxes in their range."""
    data = made(option)
    rows = _some(data)
    known = data.annotate(rows)
    for name in ("labels", "captions", "boxes", "segmentation", *known.extra):
        part = known.part(name)
        if part is not None:
            expect(len(part) == len(rows), f"{len(rows)} {name}", len(part))
    if known.labels is not None and len(known.labels):
        low, high = int(known.labels.min()), int(known.labels.max())
        expect(0 <= low <= high < len(known.classes), f"labels from 0 to {len(known.classes) - 1}", f"{low} to {high}")
    boxes = [box for row in known.boxes or [] for box in row]
    inside = all(0 <= b[0] < len(known.classes) and 0 <= b[1] < b[3] <= 1 and 0 <= b[2] < b[4] <= 1 for b in boxes)
    expect(inside, "boxes as (class, x0, y0, x1, y1), in shares of the image", boxes[:2])
    expect(data.annotate(rows).digest() == known.digest(), "the same annotations twice", "others")
    expect(data.annotate(rows[-1:]).digest() == known.rows([len(rows) - 1]).digest(), "those of a row alone", "others")


def _some(data: ImageData) -> list[Row]:
    """Some rows, spread over the set."""
    rows = data.rows()
    return list(islice(rows[:: max(1, len(rows) // SHOWN)], SHOWN))
