"""Inpainting: holes in images (Rombach et al. 2022, section 4.5; Lugmayr et al. 2022, "RePaint")."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Real, UInt8

from ablatent.conditioning.mask_file import read_mask
from ablatent.conditioning.masks import KINDS, Masks
from ablatent.core.errors import ConfigError
from ablatent.core.fields import OneOf, Text
from ablatent.core.files import sha256 as file_sha256
from ablatent.core.rng import stream
from ablatent.tasks.base import Condition, Restoration, TaskContext
from ablatent.tasks.fill import Fill, mean_filled


@dataclass(frozen=True)
class Inpaint(Fill):
    """Validation images with a hole each, filled again, beside a baseline, the mean colour of the rest of the image.

    mask: strokes, boxes, halves or a mixture of them, another one for each image; file: an image file of one mask for
    all in its place, of the images' size, white = fill, grey = in part (see `read_mask`); null: none.
    """

    fills: ClassVar[bool] = True
    restores: ClassVar[bool] = True

    mask: Annotated[
        Annotated[str, OneOf(KINDS)] | Annotated[str, OneOf(("mixture",))],
        "strokes, boxes, halves or one of these, another one for each image",
    ] = "strokes"
    file: Annotated[Text | None, "one mask for all: an image, white = fill, grey = in part"] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask not in (*KINDS, "mixture"):
            raise ConfigError("task.mask", ", ".join((*KINDS, "mixture")), self.mask)
        if self.file is not None and not Path(self.file).is_file():
            raise ConfigError("task.file", "an image file of a mask", self.file, "There is no such file.")

    def check_model(self, condition: Condition, size: int) -> None:
        super().check_model(condition, size)
        if self.file is not None:
            read_mask(Path(self.file), (size, size), "task.file")

    def canvases(
        self, context: TaskContext, images: UInt8[np.ndarray, "n H W C"]
    ) -> tuple[UInt8[np.ndarray, "n H W C"], Real[np.ndarray, "n H W"]]:
        size = (images.shape[1], images.shape[2])
        if context.mask is not None:
            return images, np.repeat(context.mask[None], len(images), axis=0)
        if self.file is not None:
            one = read_mask(Path(self.file), size, "task.file")
            return images, np.repeat(one[None], len(images), axis=0)
        masks = Masks(self.mask)
        return images, np.stack([masks(stream(context.seed, "mask", i), size[0]) for i in range(len(images))])

    def restoration(self, filled: np.ndarray, images: np.ndarray, masks: np.ndarray) -> Restoration:
        degradation = {"mask": self.mask} if self.file is None else {"mask": file_sha256(Path(self.file))}
        baseline = mean_filled(images, masks)
        return Restoration(
            restored=filled,
            truth=images,
            baseline=baseline,
            baseline_name="mean_colour",
            baseline_label="of the mean colour",
            degradation=degradation,
        )
