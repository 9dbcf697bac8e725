"""Base of the verdicts of judges: what of the annotations one learns, and which shares of conditions it finds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ablatent.core.errors import ConfigError
from ablatent.data.base import Annotations
from ablatent.evaluation.shares import Share

OTHER_DATA = {
    "labels": "Use judge=none, or data with classes (data=fashion_mnist, digits, image_folder with subfolders).",
    "boxes": "Use judge=none, or data=openmoji_scenes or openimages_boxes.",
    "segmentation": "Use judge=none, or data=openmoji_scenes, or image_folder with data.maps.",
}
"""Annotation → what to do about data without it."""


class Verdict(ABC):
    """Base of all verdicts: frozen dataclasses whose fields are their knobs.

    reads: the annotations that a judge learns, by name (see `Annotations.part`). condition_parts: a model's condition
    must have one of these, so that it decides what the judge sees. scored_parts: the parts of the conditions that the
    shares are of, any of them. headline: the held-out score by which a judge is good or not. labels: name of a share →
    its label in reports, where that is another. calibrates: whether a knob is chosen on real images.
    """

    reads: ClassVar[str]
    condition_parts: ClassVar[tuple[str, ...]]
    scored_parts: ClassVar[tuple[str, ...]]
    headline: ClassVar[str]
    labels: ClassVar[Mapping[str, str]] = {}
    calibrates: ClassVar[bool] = False

    def check(self, annotations: Annotations) -> None:
        """Raise ConfigError for data that lacks what a judge learns."""
        if annotations.part(self.reads) is None:
            do = OTHER_DATA.get(self.reads, "Use judge=none.")
            raise ConfigError("judge", f"data with {self.reads}", f"data without {self.reads}", do)
        if len(self.names(annotations)) < 2:
            raise ConfigError(
                "judge", "data with at least 2 classes", f"{len(self.names(annotations))}", "Use judge=none."
            )

    def names(self, annotations: Annotations) -> tuple[str, ...]:
        """What each output of the network stands for, in their order: the classes, unless a verdict has others."""
        return annotations.classes

    @abstractmethod
    def targets(self, annotations: Annotations) -> np.ndarray:
        """What a judge learns, a row an image: the shape and type that `loss` and `right` take as target."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """The training loss, a mean over the batch. logits: the network's output; target: rows of `targets`."""

    @abstractmethod
    def right(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """The share of right answers in a batch, in [0, 1], for training curves."""

    @abstractmethod
    def answers(self, logits: Tensor) -> np.ndarray:
        """The network's answer for each image, a row an image, small enough to keep."""

    def calibrated(self, answers: np.ndarray, annotations: Annotations) -> dict[str, Any]:
        """The knobs that are chosen on real images, by name: their answers against their annotations."""
        return {}

    @abstractmethod
    def shares(self, answers: np.ndarray, conditions: Annotations) -> dict[str, Share]:
        """name → share of what the conditions demand that the judge finds. answers, conditions: a row an image. Raises
        DataError where the conditions demand nothing that can be found."""

    @abstractmethod
    def details(self, answers: np.ndarray, annotations: Annotations) -> tuple[dict[str, float], dict[str, float]]:
        """(further scores of real images by name, a score of each output by its name)."""
