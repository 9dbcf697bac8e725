"""What conditions are made from: images and their annotations. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Real, UInt8

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.options import options_of
from ablatent.data.annotation_kinds import BUILT_IN, IMAGES, annotation_kind
from ablatent.data.base import Annotations
from ablatent.data.listing import folded


@dataclass(frozen=True)
class Source:
    """n images with their annotations, or the conditions of n samples without any; parts that are not there are None.

    masks: 1 where an inpainting model is to fill the image, 0 where not, shares between; low_resolution: small images
    that a model of super-resolution enlarges. embeddings: folder of the captions' cached embeddings, for a frozen text
    encoder; None: they are computed on access.
    """

    n: int
    annotations: Annotations
    pixels: UInt8[np.ndarray, "n H W C"] | None = None
    embeddings: Path | None = None
    masks: Real[np.ndarray, "n H W"] | None = None
    low_resolution: UInt8[np.ndarray, "n h w C"] | None = None

    def rows(self, index: Sequence[int] | np.ndarray) -> "Source":
        """The given rows, in that order; a row may come several times."""
        i = np.asarray(index, dtype=np.int64)
        own = {name: getattr(self, name) for name in ("pixels", "masks", "low_resolution")}
        own = {name: None if value is None else np.asarray(value[i]) for name, value in own.items()}
        return replace(self, n=len(i), annotations=self.annotations.rows(i), **own)

    def part(self, name: str) -> object:
        """Annotations by their name, or "pixels", a row an image. Raises ConfigError where the source has none."""
        value = self.pixels if name == IMAGES.name else self.annotations.part(name)
        if value is None:
            title = annotation_kind(name).title
            raise ConfigError("conditioner", f"data with {title}", f"data without {title}", data_with(name))
        return value

    def check(self, needs: Sequence[str]) -> None:
        """Raise ConfigError unless the source has all these parts."""
        for name in needs:
            self.part(name)


def data_with(name: str) -> str:
    """'Use data=…, or conditioner=none.': the data sets that declare annotations of that name."""
    offering = [option for option, node in options_of("data") if name in declared(node, "offers")]
    return f"Use {'data=' + ', '.join(offering) + ', or ' if offering else ''}conditioner=none."


def class_index(name: str, classes: Sequence[str], key: str) -> int:
    """The index of the class of that name, upper or lower case, whatever the form of its accents.

    Raises ConfigError(key) for no or several such.
    """
    exact = [i for i, c in enumerate(classes) if c == name]
    found = exact or [i for i, c in enumerate(classes) if folded(c).casefold() == folded(name.strip()).casefold()]
    if len(found) != 1:
        near = did_you_mean(name.casefold(), classes) or did_you_mean(name, classes)
        some = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise ConfigError(key, f"the name of one class ({some})", name, near)
    return found[0]


def blank(
    n: int, canvas: tuple[int, int], classes: int, segments: int, needs: Sequence[str] = (), channels: int = 3
) -> Source:
    """n white images of canvas = (height, width) with empty annotations of every kind: to try shapes out.

    needs: names of annotations; those without a field of their own are zeros. channels: of the images.
    """
    annotations = Annotations(
        np.zeros(n, dtype=np.int64),
        tuple(map(str, range(classes))),
        [""] * n,
        [[] for _ in range(n)],
        np.zeros((n, *canvas), dtype=np.uint8),
        tuple(map(str, range(segments))),
        {name: np.zeros(n, dtype=np.float32) for name in needs if name not in BUILT_IN},
    )
    pixels, masks = np.full((n, *canvas, channels), 255, dtype=np.uint8), np.zeros((n, *canvas), dtype=np.uint8)
    return Source(n, annotations, pixels, masks=masks)
