"""What judges say, by hand on small arrays: shares, intervals, chance, thresholds, boxes that are hit."""

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.augment import ShiftMirror
from ablatent.data.base import Annotations
from ablatent.evaluation.agreement import agreement, held_out, with_calibration
from ablatent.evaluation.judges import Classes, Objects, Segments
from ablatent.evaluation.shares import Share, wilson_half_width

NAMES = ("sun", "tree", "car")


def column(*values):
    return np.array(values, dtype=np.float64)[:, None]


def test_wilson_half_widths_from_the_literature():
    assert wilson_half_width(0.5, 100) == pytest.approx((0.5962 - 0.4038) / 2, abs=1e-4)
    assert wilson_half_width(1.0, 10) == pytest.approx((1 - 0.7225) / 2, abs=1e-4)


def test_the_interval_counts_pictures_not_objects():
    """Four objects a picture that are found or missed together say no more than one."""
    found = np.random.default_rng(0).random(400) < 0.7
    one, four = Share(column(*found), column(*[1] * 400)), Share(column(*4 * found), column(*[4] * 400))
    assert four.value == one.value and "bootstrap" in four.spread and "Wilson" in one.spread
    assert four.half_width() == pytest.approx(one.half_width(), rel=0.1)


def test_nothing_asked_for_is_an_error():
    with pytest.raises(DataError, match="looked for"):
        Share(column(0, 0), column(0, 0))


def test_classes():
    answers, known = np.array([0, 1, 2, 2]), Annotations(np.array([0, 1, 2, 1]), NAMES)
    numbers, half, by_name = held_out(Classes(), answers, known)
    assert numbers == {"class_accuracy": 0.75} and half["class_accuracy"] == wilson_half_width(0.75, 4)
    assert by_name == {"sun": 1.0, "tree": 0.5, "car": 1.0}


SMALL, CORNER, WHOLE = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)
BOXES = [[(0, *SMALL), (1, *CORNER)], [(2, *WHOLE)], [], [(0, *WHOLE), (0, *SMALL)]]


def test_objects():
    """Sun and tree, a car, nothing, two suns: the judge misses the tree, and sees a car in the last picture."""
    known = Annotations(classes=NAMES, boxes=BOXES)
    answers = np.array([[0.9, 0.3, 0.1], [0.1, 0.1, 0.7], [0.2, 0.2, 0.2], [0.8, 0.1, 0.9]], dtype=np.float32)
    numbers, _, balanced = held_out(Objects(threshold=0.5), answers, known)
    assert numbers["object_recall"] == 3 / 4 and numbers["scene_accuracy"] == 2 / 3 and numbers["precision"] == 3 / 4
    assert numbers["several_accuracy"] == 0, "the first alone was asked for two kinds"
    assert numbers["f1"] == 2 * 3 / (4 + 4) and numbers["exact_accuracy"] == 2 / 4
    assert balanced == pytest.approx({"sun": 1.0, "tree": 0.5, "car": (1 + 2 / 3) / 2})
    verdict = Objects()
    calibrated = verdict.calibrated(answers, known)
    assert 0.2 < calibrated["threshold"] <= 0.3, "all four objects are found and one is seen that is not there"
    assert held_out(with_calibration(verdict, calibrated), answers, known)[0]["object_recall"] == 1
    with pytest.raises(ValueError, match="threshold"):
        verdict.shares(answers, known)


SCENE = Annotations(
    classes=("sun", "tree"),
    boxes=[[(0, *SMALL)], [(1, *CORNER)]],
    segmentation=np.zeros((2, 8, 8), dtype=np.uint8),
    segments=("background", "tree", "sun"),  # not in the order of the classes
)
SCENE.segmentation[0, :4, :4], SCENE.segmentation[1, 4:, 4:] = 2, 1


def test_segments():
    answers = SCENE.segmentation.copy()
    answers[0, :4, 2:4] = 0  # half of the sun is not seen
    answers[1, 4:, 4:] = 2  # the tree is taken for a sun
    numbers, _, by_name = held_out(Segments(), answers, SCENE)
    assert numbers["pixel_accuracy"] == 1 - (8 + 16) / 128
    assert by_name == pytest.approx({"background": 96 / 104, "tree": 0.0, "sun": 8 / 32})
    assert numbers["miou"] == pytest.approx(np.mean(list(by_name.values())))
    assert numbers["box_hit_rate"] == 0.5, "half a box is still an overlap of 0.5"


def test_a_box_is_hit_by_its_class_in_its_place():
    hit, numbers = Segments(least_iou=0.5).hit, [2, 1]
    answer = np.zeros((32, 32), dtype=np.uint8)
    answer[8:16, 8:16] = 2
    box = (0, 0.25, 0.25, 0.5, 0.5)
    assert hit(answer, numbers, box) and not hit(answer, numbers, (1, *box[1:]))
    assert not hit(answer, numbers, (0, 0.25, 0.5, 0.5, 0.75)), "next to it"
    assert not hit(answer, numbers, (0, 0.0, 0.0, 0.5, 0.5)), "a quarter of the box asked for"
    answer[24:30, 24:30] = 2
    assert hit(answer, numbers, box), "another object of the class, elsewhere, does not matter"
    with pytest.raises(DataError, match="tree"):
        Segments().shares(answer[None], Annotations(classes=NAMES, boxes=[[box]], segments=("background", "sun")))


def test_a_judge_that_always_says_the_same_finds_no_more_than_chance():
    labels = np.arange(90) % 3
    conditions = Annotations(labels, NAMES)
    scores = agreement(Classes(), np.zeros(90, dtype=np.int64), conditions, {"class_accuracy": 0.5}, {"judge": "j"})
    assert scores["class_accuracy"].value == pytest.approx(1 / 3)
    assert scores["class_accuracy"].value == pytest.approx(scores["class_accuracy_chance"].value)
    assert "weak" in scores["class_accuracy"].notes[0]
    good = agreement(Classes(), labels, conditions, {"class_accuracy": 0.9}, {"judge": "j"})
    assert good["class_accuracy"].value == 1 and good["class_accuracy_chance"].value == pytest.approx(1 / 3, abs=0.05)
    assert not good["class_accuracy"].notes and good["class_accuracy"].protocol["on_real"] == 0.9


def test_a_map_moves_with_its_picture_whatever_the_batch():
    maps = np.random.default_rng(0).integers(0, 5, (6, 8, 8), dtype=np.uint8)
    pictures = np.repeat(maps[..., None], 3, axis=3)
    augment = ShiftMirror(shift=2, mirror=True)
    moved, moved_maps = augment(3, range(10, 16), pictures, maps)
    assert (moved == moved_maps[..., None]).all() and (moved != pictures).any()
    assert (augment(3, range(13, 16), pictures[3:])[0] == moved[3:]).all()
    assert (ShiftMirror(0, False)(3, range(6), maps)[0] == maps).all()


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Objects(threshold=1.5), "judge.verdict.threshold"),
        (lambda: Segments(least_iou=0.0), "judge.verdict.least_iou"),
        (lambda: ShiftMirror(shift=-1, mirror=False), "judge.augment.shift"),
    ],
)
def test_refused(make, key):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key
