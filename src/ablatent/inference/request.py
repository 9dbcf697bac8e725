"""What somebody asks of a finished model: prompts, classes, layouts, pictures; checked before anything is sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import UInt8
from PIL import Image

from ablatent.conditioning.layout import parse_boxes
from ablatent.conditioning.source import NAMES, Source, class_index
from ablatent.core.errors import ConfigError, DataError
from ablatent.core.files import sha256
from ablatent.core.images import read_mask
from ablatent.data.base import Annotations
from ablatent.data.decode import image_size, read_image
from ablatent.data.maps import UNLABELLED, VOID, square
from ablatent.tasks.base import Task
from ablatent.tasks.fill import Fill

GIVES = {"captions": "prompt", "labels": "class", "boxes": "boxes", "segmentation": "map", "pixels": "image"}


@dataclass(frozen=True)
class Request:
    """prompts: each is sampled n times; label: a class by number, class_: by name; image, mask, map: files; boxes: a
    list of [class name, x0, y0, x1, y1], shares of the picture from left and top."""

    prompts: Sequence[str] = ()
    class_: str | None = None
    label: int | None = None
    image: str | None = None
    mask: str | None = None
    map: str | None = None
    boxes: Sequence[Sequence[Any]] | None = None
    n: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in (("n", 1), ("seed", 0)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(key, f"an integer of at least {least}", value)
        if self.class_ is not None and self.label is not None:
            raise ConfigError("label", "null beside class", self.label, "Name the class once.")
        if self.label is not None and (isinstance(self.label, bool) or not isinstance(self.label, int)):
            raise ConfigError("label", "the number of a class", self.label, "A name is said with class=….")
        for prompt in self.prompts:
            if not isinstance(prompt, str) or any("\ud800" <= c <= "\udfff" for c in prompt):
                raise ConfigError("prompt", "text, in UTF-8", prompt)
        for key in ("image", "mask", "map"):
            file = getattr(self, key)
            if file is not None and not Path(file).is_file():
                raise ConfigError(key, "a picture file", file, "There is no such file.")
        if self.mask is not None and self.image is None:
            raise ConfigError("image", "the picture that the mask belongs to", None, "Say image=FILE.")

    @staticmethod
    def of(config: Mapping[str, Any]) -> "Request":
        """From the keys of conf/config.yaml."""
        prompts = [] if config["prompt"] is None else [str(config["prompt"])]
        if config["prompts"] is not None:
            if prompts:
                raise ConfigError("prompts", "null beside prompt", config["prompts"], "Say one of them.")
            prompts = prompts_of(Path(config["prompts"]))
        boxes = None if config["boxes"] is None else boxes_of(config["boxes"])
        said = {key: config[key] for key in ("label", "image", "mask", "map", "n", "seed")}
        return Request(prompts, config["class"], boxes=boxes, **said)

    @property
    def count(self) -> int:
        return self.n * max(len(self.prompts), 1)

    def caption(self, index: int) -> str | None:
        """The prompt of a sample; those of one prompt come one after the other."""
        return self.prompts[index // self.n] if self.prompts else None

    def files(self) -> dict[str, dict[str, str]]:
        """Path and digest of the files that it reads."""
        named = {"image": self.image, "mask": self.mask, "map": self.map}
        return {k: {"path": str(Path(f).resolve()), "sha256": sha256(Path(f))} for k, f in named.items() if f}


def prompts_of(path: Path) -> list[str]:
    """One prompt a line; empty lines are left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError("prompts", "a text file with one prompt a line", str(path), str(e)) from None
    if not any(lines):
        raise ConfigError("prompts", "a text file with one prompt a line", str(path), "It has none.")
    return [line for line in lines if line]


def boxes_of(text: str) -> list[Any]:
    """[[dog, 0.1, 0.1, 0.5, 0.5], …] as it is typed; each is for `parse_boxes` to check."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, list):
        raise ConfigError("boxes", "[[CLASS, x0, y0, x1, y1], …]", text, "For example boxes='[[dog,0.1,0.1,0.5,0.5]]'.")
    return value


@dataclass(frozen=True)
class Asker:
    """Turns requests into sources, for one model. needs: what its condition (and the classifier that guides it) reads;
    size: of its pictures; small: of those that it enlarges, where it does; most_boxes: that it reads, where it does;
    fills: it was trained to fill holes of pictures; said: lines for the person who asks."""

    task: Task
    needs: frozenset[str]
    classes: Sequence[str]
    segments: Sequence[str]
    size: int
    small: int | None = None
    most_boxes: int | None = None
    fills: bool = False
    said: list[str] = field(default_factory=list)

    def picture_and_map(self, request: Request) -> tuple[str | None, str | None, str]:
        """(picture, map, key of the map): where the model reads maps and nobody reads a picture, the image is a map."""
        pictures = self.task.needs_images or "pixels" in self.needs
        if request.map is None and "segmentation" in self.needs and not pictures:
            return None, request.image, "map" if request.image is None else "image"
        return request.image, request.map, "map"

    def check(self, request: Request) -> None:
        """Raise ConfigError for what the model does not read, and for what it needs and nobody gave."""
        if self.fills and not isinstance(self.task, Fill):
            expected = "one that fills: the model reads a picture with a hole, which would be cut at random"
            raise ConfigError("task", expected, type(self.task).__name__, "Say task=inpaint mask=FILE.")
        picture, segmentation, _ = self.picture_and_map(request)
        given: dict[str, Any] = {"prompt": list(request.prompts) or None, "class": request.class_}
        given |= {"label": request.label, "boxes": request.boxes, "image": picture, "map": segmentation}
        takes = {GIVES[need] for need in self.needs} | ({"image"} if self.task.needs_images else set())
        takes |= {"label"} if "class" in takes else set()
        reads = " and ".join(sorted(NAMES[n] for n in self.needs)) or "no condition"
        for key, value in given.items():
            if value is not None and key not in takes:
                do = "A class is asked for with class=NAME." if key == "prompt" and "class" in takes else ""
                do = "To fill a part of it: task=inpaint." if key == "image" and request.mask else do
                raise ConfigError(key, f"null with a model of {reads} and this task", value, do)
            if key in takes and value is None and key not in ("class", "label"):
                starts = key == "image" and self.task.needs_images
                why = "the task starts from a picture" if starts else f"the model is one of {reads}"
                raise ConfigError(key, f"a value: {why}", None, f"Say {key}=….")
        if self.most_boxes is not None and len(request.boxes or ()) > self.most_boxes:
            got = f"{len(request.boxes or ())} boxes"
            raise ConfigError("boxes", f"at most {self.most_boxes}, as many as the model reads", got)
        if request.mask is not None and not self.task.fills:
            raise ConfigError("mask", "null with a task that fills nothing", request.mask, "Choose task=inpaint.")

    def source(self, request: Request) -> Source:
        """What each of the samples is conditioned on, and the picture it starts from."""
        self.check(request)
        n = request.count
        captions = [request.caption(i) or "" for i in range(n)] if "captions" in self.needs else None
        labels = self._labels(request) if "labels" in self.needs else None
        boxes = [parse_boxes(request.boxes or (), self.classes)] * n if "boxes" in self.needs else None
        picture, segmentation, key = self.picture_and_map(request)
        maps = pixels = small = None
        if segmentation is not None:
            maps = np.repeat(self._segmentation(Path(segmentation), key)[None], n, axis=0)
        if picture is not None:
            # a task that starts from a picture needs a whole one, which the model makes small itself
            enlarges = self.small is not None and not self.task.needs_images
            if enlarges and min(image_size(Path(picture))) < self.size:
                small = np.repeat(self.picture(Path(picture), self.small or self.size)[None], n, axis=0)
            else:
                pixels = np.repeat(self.picture(Path(picture), self.size)[None], n, axis=0)
        known = Annotations(labels, tuple(self.classes), captions, boxes, maps, tuple(self.segments))
        return Source(n, known, pixels, low_resolution=small)

    def _labels(self, request: Request) -> np.ndarray:
        """The class that was asked for; classes in turn where none was."""
        if request.class_ is not None and request.class_.isdecimal() and request.class_ not in self.classes:
            do = f"A number is said with label={request.class_}."
            raise ConfigError("class", "the name of a class", request.class_, do)
        if request.class_ is not None:
            return np.full(request.count, class_index(request.class_, self.classes, "class"), dtype=np.int64)
        if request.label is not None:
            if not 0 <= request.label < len(self.classes):
                raise ConfigError("label", f"the number of a class, 0 … {len(self.classes) - 1}", request.label)
            return np.full(request.count, request.label, dtype=np.int64)
        return np.arange(request.count, dtype=np.int64) % len(self.classes)

    def _segmentation(self, path: Path, key: str) -> UInt8[np.ndarray, "size size"]:
        """A picture whose levels (or palette indices) are classes: its middle square, resized by nearest. key: as what
        it was given."""
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as e:
            raise ConfigError(key, "a picture file", str(path), f"It cannot be read: {e}") from None
        if picture.mode not in ("L", "P"):
            do = "Save class indices, not colours."
            raise ConfigError(key, "a map: a picture in grey or with a palette", picture.mode, do)
        numbers, last = np.asarray(picture), len(self.segments) - 1
        if self.segments[last] == UNLABELLED:
            numbers = np.where(numbers == VOID, last, numbers).astype(np.uint8)
        if (most := int(numbers.max())) > last:
            named = ", ".join(f"{i} {name}" for i, name in enumerate(self.segments))
            raise ConfigError(key, f"a map of the classes {named}", f"the class {most}")
        return square(numbers, self.size)

    def picture(self, path: Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """As the training's pictures: the middle square, resized."""
        try:
            width, height = image_size(path)
            picture = read_image(path, size, "lanczos")
        except DataError as e:
            raise ConfigError("image", "a picture file", str(path), str(e)) from None
        if (width, height) != (size, size):
            self.said.append(f"{path}: {width}x{height} pixels; its middle square is used, in {size}x{size}")
        return picture

    def hole(self, request: Request) -> UInt8[np.ndarray, "size size"] | None:
        """The mask, of the picture's own size, as the picture was cut and resized; 1 = fill."""
        if request.mask is None or request.image is None:
            return None
        width, height = image_size(Path(request.image))
        mask = read_mask(Path(request.mask), (height, width), "mask")
        out = square(mask, self.size)
        if out.all() or not out.any():
            raise ConfigError("mask", "something to fill and something known in the middle square", request.mask)
        return out
