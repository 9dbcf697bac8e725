"""What a network trained on real pictures says of generated ones: their class, the objects in them, their pixels.

A verdict says what of the annotations a judge learns, and which shares of what was asked for it finds. The same shares
of real held-out pictures are their ceilings: what a perfect generator would get from this judge.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations
from ablatent.data.boxes import Box, presence
from ablatent.evaluation.shares import Share


class Verdict(ABC):
    """Base of all verdicts: frozen dataclasses whose fields are their knobs.

    reads: the part of `Annotations` that a judge learns. asked_by: the parts of which a condition must have one, so
    that a sample is asked for what the judge sees. looks_for: the parts that its shares are of, any of them.
    headline: the held-out number by which a judge is good or not. labels: name of a share → its label in reports, where
    that is another. settles: whether a knob is chosen on real pictures.
    """

    reads: ClassVar[str]
    asked_by: ClassVar[tuple[str, ...]]
    looks_for: ClassVar[tuple[str, ...]]
    headline: ClassVar[str]
    labels: ClassVar[Mapping[str, str]] = {}
    settles: ClassVar[bool] = False

    def check(self, known: Annotations) -> None:
        """Raise ConfigError for data that lacks what a judge learns."""
        if getattr(known, self.reads) is None:
            raise ConfigError("judge", f"data with {self.reads}", f"data without {self.reads}", OTHER_DATA[self.reads])
        if len(self.names(known)) < 2:
            raise ConfigError("judge", "data with at least 2 classes", f"{len(self.names(known))}", "Use judge=none.")

    def names(self, known: Annotations) -> tuple[str, ...]:
        """Of the network's outputs."""
        return known.classes

    @abstractmethod
    def targets(self, known: Annotations) -> np.ndarray:
        """What a judge learns, a row a picture."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Mean over the batch."""

    @abstractmethod
    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """The share of right answers in a batch, for training curves."""

    @abstractmethod
    def answers(self, logits: Tensor) -> np.ndarray:
        """What the network says of each picture, small enough to keep."""

    def settled(self, answers: np.ndarray, known: Annotations) -> dict[str, Any]:
        """The knobs that are chosen by what is known of real pictures."""
        return {}

    @abstractmethod
    def shares(self, answers: np.ndarray, asked: Annotations) -> dict[str, Share]:
        """name → share of what was asked for that the judge finds."""

    @abstractmethod
    def details(self, answers: np.ndarray, known: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        """(further numbers on real pictures, a number for each output by name)."""


@dataclass(frozen=True)
class Classes(Verdict):
    """The class of a picture."""

    reads: ClassVar[str] = "labels"
    asked_by: ClassVar[tuple[str, ...]] = ("labels", "captions")
    looks_for: ClassVar[tuple[str, ...]] = ("labels",)
    headline: ClassVar[str] = "class_accuracy"
    labels: ClassVar[Mapping[str, str]] = {"class_accuracy": "class accuracy"}

    def targets(self, known: Annotations) -> np.ndarray:
        return np.asarray(known.labels, dtype=np.int64)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.cross_entropy(logits, target)

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return (logits.argmax(dim=1) == target).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.argmax(dim=1).cpu().numpy()

    def shares(self, answers: np.ndarray, asked: Annotations) -> dict[str, Share]:
        right = np.asarray(answers == self.targets(asked), dtype=np.float64)[:, None]
        return {"class_accuracy": Share(right, np.ones_like(right))}

    def details(self, answers: np.ndarray, known: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        labels = self.targets(known)
        there = [k for k in range(len(known.classes)) if (labels == k).any()]
        return {}, {known.classes[k]: float((answers[labels == k] == k).mean()) for k in there}


@dataclass(frozen=True)
class Objects(Verdict):
    """Which classes of objects a picture shows, each by itself.

    threshold: the probability from which an object counts as found; None: that of the best F1 on real pictures.
    """

    threshold: float | None = None

    reads: ClassVar[str] = "boxes"
    asked_by: ClassVar[tuple[str, ...]] = ("captions", "boxes", "segmentation")
    looks_for: ClassVar[tuple[str, ...]] = ("boxes",)
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
    def settles(self) -> bool:  # type: ignore[override]
        return self.threshold is None

    def targets(self, known: Annotations) -> np.ndarray:
        """(n, classes) float32: 1 where the picture has a box of the class."""
        return presence(known.boxes or (), len(known.classes)).astype(np.float32)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.binary_cross_entropy_with_logits(logits, target)

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return ((logits > 0) == (target > 0.5)).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.float().sigmoid().cpu().numpy()

    def settled(self, answers: np.ndarray, known: Annotations) -> dict[str, Any]:
        """The threshold, a multiple of 0.05, of the best F1; the middle one of several."""
        there = self.targets(known) > 0
        thresholds = [k / 20 for k in range(1, 20)]
        f1 = np.array([_f1(answers >= t, there) for t in thresholds])
        best = np.flatnonzero(f1 == f1.max())
        return {"threshold": thresholds[best[len(best) // 2]]}

    def _found(self, answers: np.ndarray) -> np.ndarray:
        if self.threshold is None:
            raise ValueError("Objects: the threshold is chosen on real pictures first (settled)")
        return answers >= self.threshold

    def shares(self, answers: np.ndarray, asked: Annotations) -> dict[str, Share]:
        """object_recall: of the kinds of objects asked for; scene_accuracy: of pictures, those that have them all;
        several_accuracy: of pictures that were asked for two or more, those that have them all."""
        wanted = self.targets(asked) > 0
        hits, asks = (a.sum(axis=1, keepdims=True).astype(np.float64) for a in (wanted & self._found(answers), wanted))
        some = asks[:, 0] > 0
        every = (hits == asks)[some].astype(np.float64)
        shares = {"object_recall": Share(hits, asks), "scene_accuracy": Share(every, np.ones_like(every))}
        if len(several := (hits == asks)[asks[:, 0] > 1].astype(np.float64)):
            shares["several_accuracy"] = Share(several, np.ones_like(several))
        return shares

    def details(self, answers: np.ndarray, known: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        """F1 and precision over all objects, the share of pictures with all classes right, and the mean over classes of
        their balanced accuracies, (share found where they are + share not found where they are not) / 2."""
        there, found = self.targets(known) > 0, self._found(answers)
        both = [k for k in range(there.shape[1]) if 0 < there[:, k].sum() < len(there)]
        balanced = {
            known.classes[k]: float(found[there[:, k], k].mean() + 1 - found[~there[:, k], k].mean()) / 2 for k in both
        }
        numbers = {
            "f1": _f1(found, there),
            "precision": float((found & there).sum() / max(found.sum(), 1)),
            "exact_accuracy": float((found == there).all(axis=1).mean()),
            "balanced_accuracy": float(np.mean(list(balanced.values()))) if balanced else 0.0,
        }
        return numbers, balanced


def _f1(found: np.ndarray, there: np.ndarray) -> float:
    """2 |found and there| / (|found| + |there|), over all classes and pictures."""
    return float(2 * (found & there).sum() / max(found.sum() + there.sum(), 1))


@dataclass(frozen=True)
class Segments(Verdict):
    """The class of each pixel.

    least_iou: how well a box must be met (intersection over union) to count as hit.
    """

    least_iou: float = 0.5

    reads: ClassVar[str] = "segmentation"
    asked_by: ClassVar[tuple[str, ...]] = ("boxes", "segmentation")
    looks_for: ClassVar[tuple[str, ...]] = ("boxes", "segmentation")
    headline: ClassVar[str] = "miou"
    labels: ClassVar[Mapping[str, str]] = {
        "box_hit_rate": "boxes hit",
        "miou": "mIoU",
        "pixel_accuracy": "pixel accuracy",
    }

    def __post_init__(self) -> None:
        if not 0 < self.least_iou <= 1:
            raise ConfigError("judge.verdict.least_iou", "a number above 0 and up to 1", self.least_iou)

    def names(self, known: Annotations) -> tuple[str, ...]:
        return known.segments

    def targets(self, known: Annotations) -> np.ndarray:
        return np.asarray(known.segmentation)

    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return F.cross_entropy(logits, target.long())

    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return (logits.argmax(dim=1) == target).float().mean()

    def answers(self, logits: Tensor) -> np.ndarray:
        return logits.argmax(dim=1).to(torch.uint8).cpu().numpy()

    def shares(self, answers: np.ndarray, asked: Annotations) -> dict[str, Share]:
        """pixel_accuracy: of pixels, those of the asked class; miou: of the classes asked for, their intersections over
        unions over all pictures; box_hit_rate: of boxes asked for, those that are hit (see `hit`)."""
        shares: dict[str, Share] = {}
        if asked.segmentation is not None:
            wanted = self.targets(asked)
            right = (answers == wanted).sum(axis=(1, 2)).astype(np.float64)[:, None]
            shares["pixel_accuracy"] = Share(right, np.full_like(right, wanted[0].size))
            kinds = np.unique(wanted)
            these, those = ([(maps == k).sum(axis=(1, 2)) for k in kinds] for maps in (answers, wanted))
            both = [((answers == k) & (wanted == k)).sum(axis=(1, 2)) for k in kinds]
            hits, sums = np.stack(both, 1).astype(np.float64), np.stack(these, 1) + np.stack(those, 1)
            shares["miou"] = Share(hits, sums - hits)
        if asked.boxes is not None:
            numbers = segment_numbers(asked)
            rows = zip(answers, asked.boxes, strict=True)
            hit = [sum(self.hit(answer, numbers, box) for box in boxes) for answer, boxes in rows]
            asks = [len(boxes) for boxes in asked.boxes]
            shares["box_hit_rate"] = Share(*(np.array(v, dtype=np.float64)[:, None] for v in (hit, asks)))
        return shares

    def hit(self, answer: np.ndarray, numbers: Sequence[int], box: Box) -> bool:
        """Whether the pixels of the box's class fill the box: of those within the box grown by half its width and
        height on each side (so that another object of the class elsewhere does not count), the box around them and
        the asked one overlap by `least_iou`. answer: (h, w); numbers: the segment of each class."""
        height, width = answer.shape
        label, x0, y0, x1, y1 = box
        grown = (x0 - (x1 - x0) / 2, y0 - (y1 - y0) / 2, x1 + (x1 - x0) / 2, y1 + (y1 - y0) / 2)
        left, top = max(0, round(grown[0] * width)), max(0, round(grown[1] * height))
        rows, columns = np.nonzero(
            answer[top : round(grown[3] * height), left : round(grown[2] * width)] == numbers[label]
        )
        if not len(rows):
            return False
        found = [float(columns.min() + left), float(rows.min() + top)]
        found += [float(columns.max() + left + 1), float(rows.max() + top + 1)]
        return _iou(found, [x0 * width, y0 * height, x1 * width, y1 * height]) >= self.least_iou

    def details(self, answers: np.ndarray, known: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        wanted = self.targets(known)
        kinds = [k for k in range(len(known.segments)) if (wanted == k).any()]
        iou = {
            known.segments[k]: float(((answers == k) & (wanted == k)).sum() / ((answers == k) | (wanted == k)).sum())
            for k in kinds
        }
        return {}, iou


def segment_numbers(known: Annotations) -> list[int]:
    """The segment of each class of boxes, found by its name. Raises DataError where a class has none."""
    lost = [name for name in known.classes if name not in known.segments]
    if lost:
        raise DataError(f"judge: expected a segment for each class of boxes; there is none for {', '.join(lost[:5])}")
    return [known.segments.index(name) for name in known.classes]


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two boxes (x0, y0, x1, y1)."""
    wide, high = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(wide * high / (sum(areas) - wide * high))


OTHER_DATA = {
    "labels": "Use judge=none, or data with classes (data=fashion_mnist, digits, image_folder with subfolders).",
    "boxes": "Use judge=none, or data=openmoji_scenes or openimages_boxes.",
    "segmentation": "Use judge=none, or data=openmoji_scenes, or image_folder with data.maps.",
}
