"""Composed scenes: annotations are true of the image, and no held-out pair is ever trained on."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ablatent.core.errors import ConfigError
from ablatent.data.base import TRAIN, VALIDATION, Row, digest_of
from ablatent.data.boxes import presence, relation
from ablatent.data.openmoji_scenes import OBJECTS, OpenMojiScenes
from ablatent.data.prepared import load_images

FOUR = OpenMojiScenes(size=32, max_objects=4, count=600, validation_fraction=0.3)


def shown(data: OpenMojiScenes, row: Row) -> list[int]:
    return [box[0] for box in data.scene(row).boxes]


def test_a_scene_depends_on_its_seed_and_number_alone() -> None:
    few, many = OpenMojiScenes(32, count=40), OpenMojiScenes(32, count=400, limit=90)
    same = [r for r in few.rows() if r in set(many.rows())]
    assert len(same) > 5 and [few.scene(r) for r in same] == [many.scene(r) for r in same]
    assert few.all_rows() == many.all_rows()[:40]
    row = few.rows()[0]
    assert few.scene(row) != OpenMojiScenes(32, count=40, seed=1).scene(row)
    # The first scenes and their captions: if this changes, raise `version`, or `wording` for captions alone.
    pixels = np.stack(list(few.images(few.rows()[:8])))
    assert len(pixels) == 8 and pixels.dtype == np.uint8
    assert digest_of([few.scene(r).boxes for r in few.rows()[:8]])[:16] == "26893806aedb6a94"
    assert few.annotate(few.rows()[1:4]).captions == ["a guitar above a frog", "a dog", "a dog left of a soccer ball"]


def test_fingerprints() -> None:
    first = OpenMojiScenes(32, count=50).fingerprint()
    assert first == OpenMojiScenes(32, count=50).fingerprint()
    for other in ({"size": 48}, {"held_out": 0.2}, {"seed": 1}, {"max_objects": 3}, {"count": 60}, {"objects": 20}):
        changed = OpenMojiScenes(**{"size": 32, "count": 50} | other).fingerprint()  # type: ignore[arg-type]
        assert changed.images != first.images and changed.annotations != first.annotations


@pytest.mark.parametrize("data", [OpenMojiScenes(32, count=600, validation_fraction=0.3, held_out=0.3), FOUR])
def test_no_held_out_pair_is_trained_on(data: OpenMojiScenes) -> None:
    held = {frozenset(p) for p in data.held_out_pairs}
    assert len(held) == round(data.held_out * 24 * 23 / 2)
    sizes: dict[int, set[int]] = {TRAIN: set(), VALIDATION: set()}
    for row in data.rows():
        classes = shown(data, row)
        assert len(set(classes)) == len(classes)
        pairs = {frozenset((a, b)) for a in classes for b in classes if a != b}
        sizes[row.split].add(len(classes))
        if row.split == TRAIN:
            assert not pairs & held
        elif len(classes) == 2:
            assert pairs <= held
        elif len(classes) > 2:
            assert pairs & held
    assert sizes[TRAIN] == sizes[VALIDATION] == set(range(1, data.max_objects + 1))
    trained = {c for row in data.rows() if row.split == TRAIN for c in shown(data, row)}
    assert trained == set(range(24)), "only the pair is new, never the object"


def test_boxes_are_those_of_the_segmentation() -> None:
    notes = FOUR.annotations()
    assert notes.boxes is not None and notes.segmentation is not None
    assert notes.labels is None and notes.segments == ("background", *notes.classes)
    for boxes, segmentation in zip(notes.boxes, notes.segmentation, strict=True):
        assert sorted(np.unique(segmentation)) == [0, *sorted(box[0] + 1 for box in boxes)]
        for label, *corners in boxes:
            x0, y0, x1, y1 = (round(c * 32) for c in corners)
            assert 0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 32
            ys, xs = np.nonzero(segmentation == label + 1)
            # thin ends, less than a quarter of a pixel, are in the box but not in the map
            assert 0 <= min(xs) - x0 <= 2 and 0 <= x1 - 1 - max(xs) <= 2
            assert 0 <= min(ys) - y0 <= 2 and 0 <= y1 - 1 - max(ys) <= 2


def test_images_show_the_objects(tmp_path: Path) -> None:
    data = OpenMojiScenes(32, limit=30, count=300)
    data.prepare(tmp_path)
    images, notes = load_images(tmp_path), data.annotations()
    assert len(images.indices("train")) == 30 and len(images) == len(notes.captions or []) == len(notes.boxes or [])
    assert notes.segmentation is not None
    for image, segmentation in zip(images.pixels, notes.segmentation, strict=True):
        background = image[segmentation == 0].astype(int)
        plain = np.median(background, axis=0)
        assert plain.min() >= 226 and (np.abs(background - plain).max(axis=1) == 0).mean() > 0.7
        assert (np.abs(image[segmentation > 0].astype(int) - plain).max(axis=1) > 20).mean() > 0.6


def parsed(caption: str, classes: Sequence[str]) -> list[tuple[int, str, int]]:
    """(object, relation, object) of a caption, with its own reading of the words."""
    found = []
    for part in caption.split(", "):
        a, relation, b = re.fullmatch(r"an? (.+) (left of|right of|above|below) (?:an?|the) (.+)", part).groups()  # type: ignore[union-attr]
        found.append((classes.index(a), relation, classes.index(b)))
    return found


def test_captions_are_true_to_the_boxes() -> None:
    notes = FOUR.annotations()
    seen = set()
    for caption, boxes in zip(notes.captions or [], notes.boxes or [], strict=True):
        of = {box[0]: box for box in boxes}
        if len(boxes) == 1:
            name = notes.classes[boxes[0][0]]
            assert caption == f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
            continue
        relations = parsed(caption, notes.classes)
        assert {c for a, _, b in relations for c in (a, b)} == set(of)
        for a, word, b in relations:
            dx, dy = (of[a][k] + of[a][k + 2] - of[b][k] - of[b][k + 2] for k in (1, 2))
            along, across = (dx, dy) if word in ("left of", "right of") else (dy, dx)
            assert (along < 0) == (word in ("left of", "above")) and abs(along) > 1.25 * abs(across)
            seen.add(word)
    assert len(seen) == 4


@pytest.mark.parametrize("size", [19, 35])
def test_four_objects_fit_on_an_odd_canvas(size: int) -> None:
    data = OpenMojiScenes(size=size, count=40, min_objects=4, max_objects=4)
    for row in data.rows():
        assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for _, x0, y0, x1, y1 in data.scene(row).boxes)


def test_boxes_of_images() -> None:
    left, right = (2, 0.0, 0.25, 0.5, 0.75), (0, 0.5, 0.0, 1.0, 0.5)
    assert (relation(left, right), relation(right, left)) == ("left of", "right of")
    assert relation((0, 0.0, 0.0, 0.2, 0.2), (1, 0.1, 0.5, 0.3, 0.7)) == "above"
    assert presence([[left, right], [], [left, left]], 3).tolist() == [
        [True, False, True],
        [False] * 3,
        [False, False, True],
    ]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("max_objects", {"max_objects": 5}),
        ("min_objects", {"min_objects": 3}),
        ("objects", {"objects": len(OBJECTS) + 1}),
        ("objects", {"objects": 3}),
        ("held_out", {"held_out": 0.7}),
        ("background", {"background": "blue"}),
        ("count", {"count": 1}),
        ("size", {"size": 8}),
    ],
)
def test_bad_options(key: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as error:
        OpenMojiScenes(**{"size": 32} | change)  # type: ignore[arg-type]
    assert error.value.key == f"data.{key}"
