"""What a network trained on real images finds in generated ones: their class, the objects in them, their pixels.

A verdict defines what of the annotations a judge learns, and which shares of the samples' conditions it finds. The same
shares of real held-out images are their ceilings: what a perfect generator would get from this judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations
from ablatent.data.boxes import Box, presence
from ablatent.evaluation.judge_verdict import Verdict
from ablatent.evaluation.shares import Share


@dataclass(frozen=True)
class Classes(Verdict):
    """The class of an image."""

    reads: ClassVar[str] = "labels"
    condition_parts: ClassVar[tuple[str, ...]] = ("labels", "captions")
    scored_parts: ClassVar[tuple[str, ...]] = ("labels",)
    headline: ClassVar[str] = "class_accuracy"
    labels: ClassVar[Mapping[str, str]] = {"class_accuracy": "class accuracy"}

    def targets(self, annotations: Annotations) -> np.ndarray:
        return np.asarray(annotations.labels, dtype=np.int64)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.cross_entropy(logits, target)

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return (logits.argmax(dim=1) == target).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.argmax(dim=1).cpu().numpy()

    def shares(self, answers: np.ndarray, conditions: Annotations) -> dict[str, Share]:
        right = np.asarray(answers == self.targets(conditions), dtype=np.float64)[:, None]
        return {"class_accuracy": Share(right, np.ones_like(right))}

    def details(self, answers: np.ndarray, annotations: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        labels = self.targets(annotations)
        there = [k for k in range(len(annotations.classes)) if (labels == k).any()]
        return {}, {annotations.classes[k]: float((answers[labels == k] == k).mean()) for k in there}


@dataclass(frozen=True)
class Objects(Verdict):
    """Which classes of objects an image shows, each by itself.

    threshold: the probability from which an object counts as found; None: that of the best F1 on real images.
    """

    threshold: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None,
        "probability from which an object counts as found; null: of the best F1 on every second held-out image",
    ] = None

    reads: ClassVar[str] = "boxes"
    condition_parts: ClassVar[tuple[str, ...]] = ("captions", "boxes", "segmentation")
    scored_parts: ClassVar[tuple[str, ...]] = ("boxes",)
    headline: ClassVar[str] = "f1"
    labels: ClassVar[Mapping[str, str]] = {
        "object_recall": "objects found",
        "scene_accuracy": "scenes complete",
        "several_accuracy": "scenes of several objects complete",
    }

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ConfigError("judge.verdict.threshold", "a probability between 0 and 1, or null", self.threshold)

    @property
    def calibrates(self) -> bool:  # type: ignore[override]
        """Whether the threshold is chosen on real images: where none is given."""
        return self.threshold is None

    def targets(self, annotations: Annotations) -> np.ndarray:
        """(n, classes) float32: 1 where the image has a box of the class."""
        return presence(annotations.boxes or (), len(annotations.classes)).astype(np.float32)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.binary_cross_entropy_with_logits(logits, target)

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return ((logits > 0) == (target > 0.5)).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.float().sigmoid().cpu().numpy()

    def calibrated(self, answers: np.ndarray, annotations: Annotations) -> dict[str, Any]:
        """The threshold, a multiple of 0.05, of the best F1; the middle one of several."""
        there = self.targets(annotations) > 0
        thresholds = [k / 20 for k in range(1, 20)]
        f1 = np.array([_f1(answers >= t, there) for t in thresholds])
        best = np.flatnonzero(f1 == f1.max())
        return {"threshold": thresholds[best[len(best) // 2]]}

    def _found(self, answers: np.ndarray) -> np.ndarray:
        if self.threshold is None:
            raise ValueError("Objects: the threshold is chosen on real images first (calibrated)")
        return answers >= self.threshold

    def shares(self, answers: np.ndarray, conditions: Annotations) -> dict[str, Share]:
        """object_recall: of the classes of objects in the conditions, those found; scene_accuracy: of images, those in
        which all are found; several_accuracy: the same of images whose condition has two or more."""
        expected = self.targets(conditions) > 0
        hits, asks = (
            a.sum(axis=1, keepdims=True).astype(np.float64) for a in (expected & self._found(answers), expected)
        )
        some = asks[:, 0] > 0
        every = (hits == asks)[some].astype(np.float64)
        shares = {"object_recall": Share(hits, asks), "scene_accuracy": Share(every, np.ones_like(every))}
        if len(several := (hits == asks)[asks[:, 0] > 1].astype(np.float64)):
            shares["several_accuracy"] = Share(several, np.ones_like(several))
        return shares

    def details(self, answers: np.ndarray, annotations: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        """F1 and precision over all objects, the share of images with all classes right, and the mean over classes of
        their balanced accuracies, (share found where they are + share not found where they are not) / 2."""
        there, found = self.targets(annotations) > 0, self._found(answers)
        both = [k for k in range(there.shape[1]) if 0 < there[:, k].sum() < len(there)]
        balanced = {
            annotations.classes[k]: float(found[there[:, k], k].mean() + 1 - found[~there[:, k], k].mean()) / 2
            for k in both
        }
        scores = {
            "f1": _f1(found, there),
            "precision": float((found & there).sum() / max(found.sum(), 1)),
            "exact_accuracy": float((found == there).all(axis=1).mean()),
            "balanced_accuracy": float(np.mean(list(balanced.values()))) if balanced else 0.0,
        }
        return scores, balanced


def _f1(found: np.ndarray, there: np.ndarray) -> float:
    """2 |found and there| / (|found| + |there|), over all classes and images."""
    return float(2 * (found & there).sum() / max(found.sum() + there.sum(), 1))


@dataclass(frozen=True)
class Segments(Verdict):
    """The class of each pixel.

    least_iou: how well a box must be met (intersection over union) to count as hit.
    """

    least_iou: Annotated[float, Gt(0), Le(1), "intersection over union of boxes from which one counts as hit"] = 0.5

    reads: ClassVar[str] = "segmentation"
    condition_parts: ClassVar[tuple[str, ...]] = ("boxes", "segmentation")
    scored_parts: ClassVar[tuple[str, ...]] = ("boxes", "segmentation")
    headline: ClassVar[str] = "miou"
    labels: ClassVar[Mapping[str, str]] = {
        "box_hit_rate": "boxes hit",
        "miou": "mIoU",
        "pixel_accuracy": "pixel accuracy",
    }

    def __post_init__(self) -> None:
        if not 0 < self.least_iou <= 1:
            raise ConfigError("judge.verdict.least_iou", "a number above 0 and up to 1", self.least_iou)

    def names(self, annotations: Annotations) -> tuple[str, ...]:
        return annotations.segments

    def targets(self, annotations: Annotations) -> np.ndarray:
        return np.asarray(annotations.segmentation)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.cross_entropy(logits, target.long())

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return (logits.argmax(dim=1) == target).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.argmax(dim=1).to(torch.uint8).cpu().numpy()

    def shares(self, answers: np.ndarray, conditions: Annotations) -> dict[str, Share]:
        """pixel_accuracy: of pixels, those of the class in the condition; miou: the mean over classes of the conditions
        of intersection over union, over all images; box_hit_rate: of the boxes in the conditions, those that are hit
        (see `hit`)."""
        shares: dict[str, Share] = {}
        if conditions.segmentation is not None:
            expected = self.targets(conditions)
            right = (answers == expected).sum(axis=(1, 2)).astype(np.float64)[:, None]
            shares["pixel_accuracy"] = Share(right, np.full_like(right, expected[0].size))
            kinds = np.unique(expected)
            these, those = ([(maps == k).sum(axis=(1, 2)) for k in kinds] for maps in (answers, expected))
            both = [((answers == k) & (expected == k)).sum(axis=(1, 2)) for k in kinds]
            hits, sums = np.stack(both, 1).astype(np.float64), np.stack(these, 1) + np.stack(those, 1)
            shares["miou"] = Share(hits, sums - hits)
        if conditions.boxes is not None:
            segments = segment_indices(conditions)
            rows = zip(answers, conditions.boxes, strict=True)
            hit = [sum(self.hit(answer, segments, box) for box in boxes) for answer, boxes in rows]
            asks = [len(boxes) for boxes in conditions.boxes]
            shares["box_hit_rate"] = Share(*(np.array(v, dtype=np.float64)[:, None] for v in (hit, asks)))
        return shares

    def hit(self, answer: np.ndarray, segments: Sequence[int], box: Box) -> bool:
        """Whether the pixels of the box's class fill the box: of those within the box grown by half its width and
        height on each side (so that another object of the class elsewhere does not count), the box around them and
        the given one overlap by `least_iou`. answer: (h, w) segments; segments: the segment of each class; box: in
        [0, 1], as (class, x0, y0, x1, y1)."""
        height, width = answer.shape
        label, x0, y0, x1, y1 = box
        grown = (x0 - (x1 - x0) / 2, y0 - (y1 - y0) / 2, x1 + (x1 - x0) / 2, y1 + (y1 - y0) / 2)
        left, top = max(0, round(grown[0] * width)), max(0, round(grown[1] * height))
        rows, columns = np.nonzero(
            answer[top : round(grown[3] * height), left : round(grown[2] * width)] == segments[label]
        )
        if not len(rows):
            return False
        found = [float(columns.min() + left), float(rows.min() + top)]
        found += [float(columns.max() + left + 1), float(rows.max() + top + 1)]
        return _iou(found, [x0 * width, y0 * height, x1 * width, y1 * height]) >= self.least_iou

    def details(self, answers: np.ndarray, annotations: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        expected = self.targets(annotations)
        kinds = [k for k in range(len(annotations.segments)) if (expected == k).any()]
        iou = {
            annotations.segments[k]: float(
                ((answers == k) & (expected == k)).sum() / ((answers == k) | (expected == k)).sum()
            )
            for k in kinds
        }
        return {}, iou


def segment_indices(annotations: Annotations) -> list[int]:
    """The segment of each class of boxes, found by its name. Raises DataError where a class has none."""
    missing = [name for name in annotations.classes if name not in annotations.segments]
    if missing:
        raise DataError(
            f"judge: expected a segment for each class of boxes; there is none for {', '.join(missing[:5])}"
        )
    return [annotations.segments.index(name) for name in annotations.classes]


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two boxes (x0, y0, x1, y1)."""
    wide, high = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(wide * high / (sum(areas) - wide * high))
