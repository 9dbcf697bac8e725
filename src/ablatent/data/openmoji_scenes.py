"""Scenes of one to four OpenMoji icons, with all annotations: objects, boxes, pixel classes, a caption.

Icons: "OpenMoji – the open-source emoji and icon project", CC BY-SA 4.0; credit it wherever the images are shown.
Free of torch.
"""

import hashlib
import importlib.metadata
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import UInt8
from PIL import Image

from ablatent.core.arrays import large_zeros
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import OneOf, Probability, Seed
from ablatent.core.rng import stream
from ablatent.data.base import (
    TRAIN,
    VALIDATION,
    Annotations,
    Fingerprint,
    ImageData,
    Row,
    check_fraction,
    digest_of,
    position,
)
from ablatent.data.boxes import Box
from ablatent.data.decode import check_option
from ablatent.data.openmoji import CREDIT, svg_bytes
from ablatent.data.scenes import MAX_OBJECTS, Corner, Extent, arrange, caption

# Icons that differ in shape and colour, by short names; a set of n objects is the first n.
OBJECTS = {
    "red apple": "1F34E", "bicycle": "1F6B2", "dog": "1F436", "fish": "1F41F", "house": "1F3E0", "sunflower": "1F33B",
    "car": "1F697", "tree": "1F333", "umbrella": "2602", "frog": "1F438", "rocket": "1F680", "banana": "1F34C",
    "butterfly": "1F98B", "soccer ball": "26BD", "red heart": "2764", "penguin": "1F427", "mushroom": "1F344",
    "guitar": "1F3B8", "cactus": "1F335", "elephant": "1F418", "star": "2B50", "cat": "1F431", "strawberry": "1F353",
    "moon": "1F319", "balloon": "1F388", "octopus": "1F419", "carrot": "1F955", "sailboat": "26F5", "key": "1F511",
    "turtle": "1F422", "hamburger": "1F354", "eggplant": "1F346", "snail": "1F40C", "sun": "2600", "gift": "1F381",
    "doughnut": "1F369", "crown": "1F451", "cake": "1F382", "bread": "1F35E", "helicopter": "1F681",
}  # fmt: skip
BACKGROUND = "background"
SOFT = (
    (255, 255, 255), (253, 240, 226), (232, 244, 250), (236, 248, 232), (250, 234, 240), (242, 238, 250),
    (252, 250, 226), (238, 238, 238),
)  # fmt: skip
# Icons are drawn once at this side, or at twice the canvas, cut to what is visible, and averaged down.
DRAWN = 256
# A pixel belongs to an object that covers at least a quarter of it: stems and handles are thinner than a pixel.
COVERS = 64
ATTEMPTS = 1000


@dataclass(frozen=True)
class Scene:
    """One image before it is drawn. places: extent and corner of each object, in pixels."""

    boxes: tuple[Box, ...]
    places: tuple[tuple[Extent, Corner], ...]
    background: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class OpenMojiScenes(ImageData):
    """`count` scenes of min_objects to max_objects different icons on a plain canvas. Scene i depends on seed and i.

    validation_fraction: share of scenes held out. objects: how many different ones there are, the first of OBJECTS.
    background: soft (pale colours) or white. held_out: share of unordered pairs of objects that no training scene
    shows; validation scenes of two objects show nothing but these, larger ones at least one of them.
    Boxes have an object's class; in segmentation maps class 0 is the background and k + 1 is object k.
    """

    count: Annotated[int, Ge(2), "scenes in all"] = 12000
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1
    objects: Annotated[int, Ge(2), Le(40), "different objects"] = 24
    min_objects: Annotated[int, Ge(1), Le(4), "in a scene"] = 1
    max_objects: Annotated[int, Ge(1), Le(4), "in a scene"] = 2
    background: Annotated[str, OneOf(("soft", "white")), "pale colours, or white"] = "soft"
    held_out: Annotated[Probability, "share of the pairs of objects that only validation shows"] = 0.1
    seed: Annotated[Seed, "of the scenes"] = 0

    name: ClassVar[str] = "openmoji_scenes"
    offers: ClassVar[tuple[str, ...]] = ("captions", "boxes", "segmentation")
    mirrored_captions_hold: ClassVar[bool] = False
    credit: ClassVar[str] = CREDIT
    # Raised by hand when the same scenes would get other captions, boxes or maps.
    wording: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        check_option("background", self.background, ("soft", "white"))
        for key, low, high in (
            ("count", 2, None),
            ("max_objects", 1, MAX_OBJECTS),
            ("min_objects", 1, self.max_objects),
            ("objects", 2 * self.max_objects, len(OBJECTS)),
            ("seed", 0, None),
        ):
            value = getattr(self, key)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or value < low or (high is not None and value > high):
                upto = "" if high is None else f" and at most {high}"
                raise ConfigError(f"data.{key}", f"an integer of at least {low}{upto}", value)
        if self.size < 16:
            raise ConfigError("data.size", "at least 16 pixels, for objects that can be distinguished", self.size)
        real = isinstance(self.held_out, int | float) and not isinstance(self.held_out, bool)
        if not real or not 0 <= self.held_out <= 0.5:
            raise ConfigError("data.held_out", "a share of the pairs of objects from 0 to 0.5", self.held_out)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objects, by class index."""
        return tuple(OBJECTS)[: self.objects]

    @property
    def held_out_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of class indices, the smaller one first, that training never shows together."""
        return _held_out_pairs(self.names, self.held_out, self.seed)

    def all_rows(self) -> list[Row]:
        held = self.validation_fraction
        places = [position(f"{self.seed}/{i}", "scene split") for i in range(self.count)]
        return [Row(f"{i:06d}", VALIDATION if p < held else TRAIN) for i, p in enumerate(places)]

    def content(self, rows: Sequence[Row]) -> Any:
        digest = hashlib.blake2b(digest_size=32)
        for name in self.names:
            data = svg_bytes(OBJECTS[name])
            digest.update(len(data).to_bytes(8, "big") + data)
        options = {k: getattr(self, k) for k in ("min_objects", "max_objects", "background", "held_out", "seed")}
        return {"svg": digest.hexdigest(), "resvg": importlib.metadata.version("resvg-py"), **options}

    def fingerprint(self) -> Fingerprint:
        """Annotations follow from the recipe of the images, so that no scene has to be made for their digest."""
        images = self.images_digest(self.rows())
        return Fingerprint(images, digest_of({"images": images, "names": self.names, "wording": self.wording}))

    def scene(self, row: Row) -> Scene:
        """The scene of one row. Its split decides which pairs of objects it may show."""
        return _scene(self, int(row.id), row.split)

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        for row in rows:
            scene = self.scene(row)
            image = np.empty((self.size, self.size, 3), dtype=np.uint8)
            image[:] = scene.background
            for icon, part in self._parts(scene):
                cover = icon[..., 3:].astype(np.int32)
                under = image[part]
                image[part] = (icon[..., :3] * cover + under * (255 - cover) + 127) // 255
            yield image

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        maps = large_zeros(np.uint8, (len(rows), self.size, self.size))
        for segmentation, row in zip(maps, rows, strict=True):
            scene = self.scene(row)
            for box, (icon, part) in zip(scene.boxes, self._parts(scene), strict=True):
                segmentation[part][icon[..., 3] >= COVERS] = box[0] + 1
        segments = (BACKGROUND, *self.names)
        boxes = [list(self.scene(row).boxes) for row in rows]
        captions = [caption(found, self.names) for found in boxes]
        return Annotations(None, self.names, captions, boxes, maps, segments)

    def _parts(self, scene: Scene) -> Iterator[tuple[UInt8[np.ndarray, "h w 4"], tuple[slice, slice]]]:
        """Each object's pixels, and where they go (rows, columns)."""
        for (label, *_), ((w, h), (x, y)) in zip(scene.boxes, scene.places, strict=True):
            yield _icon(self.names[label], self._drawn, w, h), (slice(y, y + h), slice(x, x + w))

    @property
    def _drawn(self) -> int:
        return max(DRAWN, 2 * self.size)


@lru_cache(maxsize=2**16)
def _scene(data: OpenMojiScenes, i: int, split: int) -> Scene:
    rng = stream(data.seed, "scene", i)
    count = int(rng.integers(data.min_objects, data.max_objects + 1))
    classes = _chosen(rng, data, count, split)
    aspects = [(w, h) for h, w, _ in (_visible(data.names[c], data._drawn).shape for c in classes)]
    places = arrange(rng, data.size, aspects)
    s = data.size
    boxes = [(c, x / s, y / s, (x + w) / s, (y + h) / s) for c, ((w, h), (x, y)) in zip(classes, places, strict=True)]
    background = SOFT[int(rng.integers(len(SOFT)))] if data.background == "soft" else SOFT[0]
    return Scene(tuple(boxes), tuple(places), background)


def _chosen(rng: np.random.Generator, data: OpenMojiScenes, count: int, split: int) -> list[int]:
    """Different objects; training avoids the held-out pairs, validation shows one of them wherever there are two."""
    pairs = data.held_out_pairs
    if count > 1 and split == VALIDATION and pairs:
        pair = pairs[int(rng.integers(len(pairs)))]
        others = [c for c in rng.permutation(data.objects).tolist() if c not in pair]
        chosen = [*pair, *others[: count - 2]]
        return [chosen[k] for k in rng.permutation(count)]
    for _ in range(ATTEMPTS):
        chosen = []
        for c in rng.permutation(data.objects).tolist():
            if split == VALIDATION or not any((min(c, other), max(c, other)) in pairs for other in chosen):
                chosen.append(c)
            if len(chosen) == count:
                return chosen
    raise DataError(f"data.held_out: no {count} objects are left that training may show together. Do: hold out less.")


@lru_cache(maxsize=16)
def _held_out_pairs(names: tuple[str, ...], share: float, seed: int) -> tuple[tuple[int, int], ...]:
    pairs = list(combinations(range(len(names)), 2))
    pairs.sort(key=lambda p: position(f"{seed}/{names[p[0]]}/{names[p[1]]}", "held-out pair"))
    return tuple(sorted(pairs[: max(1, round(share * len(pairs))) if share > 0 else 0]))


@lru_cache(maxsize=2 * len(OBJECTS))
def _visible(name: str, side: int) -> UInt8[np.ndarray, "h w 4"]:
    """An object drawn large, RGBA, cut to what is visible of it."""
    import resvg_py

    svg = svg_bytes(OBJECTS[name]).decode()
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)
    except ValueError as error:
        raise DataError(f"OpenMoji icon {OBJECTS[name]} ({name}): cannot be drawn: {error}") from error
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGBA"))
    ys, xs = np.nonzero(pixels[..., 3])
    return pixels[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


@lru_cache(maxsize=4096)
def _icon(name: str, side: int, width: int, height: int) -> UInt8[np.ndarray, "height width 4"]:
    """An object at its size in the scene: the average of what was drawn large, weighted by coverage."""
    return np.asarray(Image.fromarray(_visible(name, side)).resize((width, height), Image.Resampling.BOX))
