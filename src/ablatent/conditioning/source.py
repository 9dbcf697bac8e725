"""What conditions are made from: pictures and what is known of them. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.data.base import Annotations

PARTS = ("labels", "captions", "boxes", "segmentation", "pixels")
NAMES = {
    "labels": "class labels",
    "captions": "captions",
    "boxes": "boxes of objects",
    "segmentation": "segmentation maps",
    "pixels": "pictures",
}


@dataclass(frozen=True)
class Source:
    """n pictures, or what somebody asks for: parts that are not known are None.

    masks: what is to be filled of each picture (1), by an inpainting model; low_resolution: small pictures that a model
    of super-resolution enlarges. embeddings: folder of the captions' cached embeddings, for a frozen text encoder;
    None: they are made when needed.
    """

    n: int
    annotations: Annotations
    pixels: UInt8[np.ndarray, "n H W 3"] | None = None
    embeddings: Path | None = None
    masks: UInt8[np.ndarray, "n H W"] | None = None
    low_resolution: UInt8[np.ndarray, "n h w 3"] | None = None

    def rows(self, index: Sequence[int] | np.ndarray) -> "Source":
        """The given rows, in that order; a row may come several times."""
        i = np.asarray(index, dtype=np.int64)
        own = {name: getattr(self, name) for name in ("pixels", "masks", "low_resolution")}
        own = {name: None if value is None else np.asarray(value[i]) for name, value in own.items()}
        return replace(self, n=len(i), annotations=self.annotations.rows(i), **own)

    def part(self, name: str) -> object:
        """One of PARTS. Raises ConfigError where it is not known."""
        value = self.pixels if name == "pixels" else getattr(self.annotations, name)
        if value is None:
            raise ConfigError(
                "conditioner", f"data with {NAMES[name]}", f"data without {NAMES[name]}", OTHER_DATA[name]
            )
        return value

    def check(self, needs: Sequence[str]) -> None:
        """Raise ConfigError unless all these parts are known."""
        for name in needs:
            self.part(name)


OTHER_DATA = {
    "labels": "Use conditioner=none, or data with classes (data=fashion_mnist, digits, image_folder with subfolders).",
    "captions": "Use data=openmoji, openmoji_scenes, coco_captions, image_folder with data.captions, or webdataset.",
    "boxes": "Use data=openmoji_scenes or openimages_boxes.",
    "segmentation": "Use data=openmoji_scenes, or image_folder with data.maps.",
    "pixels": "Use data of pictures.",
}


def class_index(name: str, classes: Sequence[str], key: str) -> int:
    """The class of that name, whatever its capitals. Raises ConfigError(key) for an unknown or ambiguous one."""
    exact = [i for i, c in enumerate(classes) if c == name]
    found = exact or [i for i, c in enumerate(classes) if c.casefold() == name.strip().casefold()]
    if len(found) != 1:
        near = did_you_mean(name.casefold(), classes) or did_you_mean(name, classes)
        some = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise ConfigError(key, f"the name of one class ({some})", name, near)
    return found[0]


def blank(n: int, canvas: tuple[int, int], classes: int, segments: int) -> Source:
    """n white pictures of canvas = (height, width) of which nothing particular is known, with every part there: to try
    shapes out."""
    annotations = Annotations(
        np.zeros(n, dtype=np.int64),
        tuple(map(str, range(classes))),
        [""] * n,
        [[] for _ in range(n)],
        np.zeros((n, *canvas), dtype=np.uint8),
        tuple(map(str, range(segments))),
    )
    pixels, masks = np.full((n, *canvas, 3), 255, dtype=np.uint8), np.zeros((n, *canvas), dtype=np.uint8)
    return Source(n, annotations, pixels, masks=masks)
