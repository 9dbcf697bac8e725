"""Outpainting: the canvas of an image grows, and the new part is filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Len, Lt
from jaxtyping import UInt8

from ablatent.conditioning.masked_image import GREY
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import OneOf
from ablatent.schedules.base import is_real
from ablatent.tasks.base import Condition, TaskContext, refuse_maps
from ablatent.tasks.fill import Fill

SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Outpaint(Fill):
    """Images with more canvas on one or more sides, which the model fills in one go over the whole canvas.

    sides: left, right, top, bottom; by: what is added on each of them, as a share of the image's side. The network and
    the first stage must take the larger canvas (convolutional ones do, where its sides are divisible). The new part has
    no ground truth to compare with: `step_at_border` above `step_inside` is a visible seam.
    """

    sides: Annotated[Sequence[Annotated[str, OneOf(("left", "right", "top", "bottom"))]], Len(1), "that grow"] = (
        "right",
    )
    by: Annotated[float, Gt(0), Lt(1), "share of the side that is added on each"] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sides(self.sides)
        if not (is_real(self.by) and 0 < self.by <= 2):
            raise ConfigError("task.by", "a share of the side above 0 and up to 2", self.by)
        object.__setattr__(self, "sides", tuple(self.sides))

    def check_model(self, condition: Condition, size: int) -> None:
        super().check_model(condition, size)
        refuse_maps([part for part in condition if not part.fills])

    def borders(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """((above, below), (left, right)): pixels added to an image of this size."""
        above, below = (round(self.by * height) if side in self.sides else 0 for side in ("top", "bottom"))
        left, right = (round(self.by * width) if side in self.sides else 0 for side in ("left", "right"))
        return (above, below), (left, right)

    def canvas(self, size: int) -> tuple[int, int]:
        (above, below), (left, right) = self.borders(size, size)
        return size + above + below, size + left + right

    def canvases(
        self, context: TaskContext, images: UInt8[np.ndarray, "n H W C"]
    ) -> tuple[UInt8[np.ndarray, "n H2 W2 C"], UInt8[np.ndarray, "n H2 W2"]]:
        rows, columns = self.borders(images.shape[1], images.shape[2])
        larger = np.pad(images, ((0, 0), rows, columns, (0, 0)), constant_values=GREY)
        kept = np.zeros(images.shape[:3], dtype=np.uint8)
        return larger, np.pad(kept, ((0, 0), rows, columns), constant_values=1)


def check_sides(sides: object) -> None:
    """Raise ConfigError unless these are some of SIDES, each once, in a list."""
    expected = "a list of some of left, right, top, bottom, each once"
    if not isinstance(sides, list | tuple):
        raise ConfigError("task.sides", expected, sides, f"Write task.sides=[{sides}]." if sides in SIDES else "")
    wrong = [s for s in sides if s not in SIDES]
    if not sides or wrong or len(set(sides)) < len(sides):
        near = did_you_mean(str(wrong[0]), SIDES) if wrong else ""
        raise ConfigError("task.sides", expected, list(sides), near)
