"""A request to a finished model: prompts, classes, layouts, images; checked before anything is sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float32, Shaped, UInt8

from ablatent.conditioning.layout import parse_boxes
from ablatent.conditioning.mask_file import read_mask
from ablatent.conditioning.source import Source, class_index
from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.files import sha256
from ablatent.data.annotation_kinds import BUILT_IN, annotation_kind, titles
from ablatent.data.base import Annotations
from ablatent.data.counts import class_title
from ablatent.data.decode import DarkImages, image_size, in_channels, read_image
from ablatent.data.listing import shortlist
from ablatent.data.maps import UNLABELLED, VOID, class_numbers, square
from ablatent.tasks.base import Task
from ablatent.tasks.fill import Fill

MOST = 100_000
"""Images of one request, which are in memory together."""
MAX_CLASSES = 20
"""Classes that a message names."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for samples of a finished model.

    prompts: each is sampled n times; label: a class by number, class_: by name; image, mask, map: files; boxes: a list
    of [class name, x0, y0, x1, y1], shares of the image from left and top; annotations: further ones by name, one value
    for all samples or a list of values in turn; n: 1 … MOST over all prompts; seed: of the noise, from 0. Raises
    ConfigError for wrong values.
    """

    prompts: Sequence[str] = ()
    class_: str | None = None
    label: int | None = None
    image: str | None = None
    mask: str | None = None
    map: str | None = None
    boxes: Sequence[Sequence[Any]] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)
    n: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in (("n", 1), ("seed", 0)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(key, f"an integer of at least {least}", value)
        if self.count > MOST:
            raise ConfigError("n", f"at most {MOST} images at once", self.count, "Give several requests, by seeds.")
        if self.class_ is not None and self.label is not None:
            raise ConfigError("label", "null beside class", self.label, "Name the class once.")
        if self.label is not None and (isinstance(self.label, bool) or not isinstance(self.label, int)):
            raise ConfigError("label", "the number of a class", self.label, "A name is given by class=….")
        for prompt in self.prompts:
            if not isinstance(prompt, str) or any("\ud800" <= c <= "\udfff" for c in prompt):
                raise ConfigError("prompt", "text, in UTF-8", prompt)
        for key in ("image", "mask", "map"):
            file = getattr(self, key)
            if file is not None and not Path(file).is_file():
                raise ConfigError(key, "an image file", file, "There is no such file.")
        if self.mask is not None and self.image is None:
            raise ConfigError("image", "the image that the mask belongs to", None, "Give it by image=FILE.")
        if not isinstance(self.annotations, Mapping):
            raise ConfigError("annotations", "{NAME: VALUE, …}", self.annotations)

    @staticmethod
    def of(config: Mapping[str, Any]) -> "Request":
        """The request of a configuration with the keys of conf/do/sample.yaml. Raises ConfigError for wrong values."""
        prompts = [] if config["prompt"] is None else [str(config["prompt"])]
        if config["prompts"] is not None:
            if prompts:
                raise ConfigError("prompts", "null beside prompt", config["prompts"], "Give one of them.")
            prompts = prompts_of(Path(config["prompts"]))
        boxes = None if config["boxes"] is None else boxes_of(config["boxes"])
        values = {key: config[key] for key in ("label", "image", "mask", "map", "n", "seed")}
        annotations = config["annotations"] or {}
        return Request(prompts=prompts, class_=config["class"], boxes=boxes, annotations=annotations, **values)

    @property
    def count(self) -> int:
        """The number of samples: n of each prompt, or n without prompts."""
        return self.n * max(len(self.prompts), 1)

    def caption(self, index: int) -> str | None:
        """The prompt of the sample of this index, None without prompts; samples of one prompt are consecutive."""
        return self.prompts[index // self.n] if self.prompts else None

    def values(self) -> dict[str, Any]:
        """All fields but the files, as plain values: `Request(**values, **paths)` is the request again."""
        names = ("class_", "label", "n", "seed", "boxes", "annotations")
        return {**{name: getattr(self, name) for name in names}, "prompts": list(self.prompts)}

    def files(self) -> dict[str, dict[str, str]]:
        """image, mask, map → {"path", "sha256"}, of the files that it reads."""
        named = {"image": self.image, "mask": self.mask, "map": self.map}
        return {k: {"path": str(Path(f).resolve()), "sha256": sha256(Path(f))} for k, f in named.items() if f}


def prompts_of(path: Path) -> list[str]:
    """The prompts of a text file, one a line, without empty lines. Raises ConfigError for a file without any."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError("prompts", "a text file with one prompt a line", str(path), str(e)) from None
    if not any(lines):
        raise ConfigError("prompts", "a text file with one prompt a line", str(path), "It has none.")
    return [line for line in lines if line]


def boxes_of(text: str) -> list[Any]:
    """The boxes of a text such as [[dog, 0.1, 0.1, 0.5, 0.5]]; `parse_boxes` checks each. Raises ConfigError."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, list):
        raise ConfigError("boxes", "[[CLASS, x0, y0, x1, y1], …]", text, "For example boxes='[[dog,0.1,0.1,0.5,0.5]]'.")
    return value


@dataclass(frozen=True, kw_only=True)
class RequestResolver:
    """Turns requests into sources, for one model and task.

    needs: the parts of a source that the model (or the classifier that guides it) reads; classes, segments: names by
    index; size: side in pixels of its images; low_resolution_size: of those that it enlarges, None where it does not;
    max_boxes: number that it reads; fills: whether it was trained to fill holes of images; channels: of its images, 3
    or 1; messages: lines for the user, to which it adds.
    """

    task: Task
    needs: frozenset[str]
    classes: Sequence[str]
    segments: Sequence[str]
    size: int
    low_resolution_size: int | None = None
    max_boxes: int | None = None
    fills: bool = False
    channels: int = 3
    messages: list[str] = field(default_factory=list)

    def image_and_map(self, request: Request) -> tuple[str | None, str | None, str]:
        """(image, map, key of the map): where the model reads maps and nothing reads an image, `image` is the map."""
        images = self.task.needs_images or "pixels" in self.needs
        if request.map is None and "segmentation" in self.needs and not images:
            return None, request.image, "map" if request.image is None else "image"
        return request.image, request.map, "map"

    def check(self, request: Request) -> None:
        """Raise ConfigError for a key that the model does not read, and for one that it needs and the request lacks."""
        if self.fills and not isinstance(self.task, Fill):
            expected = "one that fills: the model reads an image with a hole, which would be cut at random"
            raise ConfigError("task", expected, type(self.task).__name__, "Choose task=inpaint mask=FILE.")
        image, segmentation, _ = self.image_and_map(request)
        given: dict[str, Any] = {"prompt": list(request.prompts) or None, "class": request.class_}
        given |= {"label": request.label, "boxes": request.boxes, "image": image, "map": segmentation}
        given |= {annotation_kind(name).request: value for name, value in request.annotations.items()}
        takes = {annotation_kind(need).request for need in self.needs}
        takes |= {"image"} if self.task.needs_images else set()
        takes |= {"label"} if "class" in takes else set()
        reads = titles(self.needs) or "no condition"
        for key, value in given.items():
            if value is not None and key not in takes:
                do = "A class is given by class=NAME." if key == "prompt" and "class" in takes else ""
                do = "To fill a part of it: task=inpaint." if key == "image" and request.mask else do
                do = did_you_mean(key, takes) if key.startswith("annotations.") else do
                raise ConfigError(key, f"null with a model of {reads} and this task", value, do)
        for key in sorted(takes - {"class", "label"}):
            if given.get(key) is None:
                starts = key == "image" and self.task.needs_images
                reason = "the task starts from an image" if starts else f"the model is one of {reads}"
                raise ConfigError(key, f"a value: {reason}", None, f"Give it by {_form(key)}.")
        if self.max_boxes is not None and len(request.boxes or ()) > self.max_boxes:
            got = f"{len(request.boxes or ())} boxes"
            raise ConfigError("boxes", f"at most {self.max_boxes}, as many as the model reads", got)
        if request.mask is not None and not self.task.fills:
            raise ConfigError("mask", "null with a task that fills nothing", request.mask, "Choose task=inpaint.")

    def source(self, request: Request) -> Source:
        """The condition of each sample, and the image it starts from. Raises ConfigError for what does not fit."""
        self.check(request)
        n = request.count
        captions = [request.caption(i) or "" for i in range(n)] if "captions" in self.needs else None
        labels = self._labels(request) if "labels" in self.needs else None
        boxes = [parse_boxes(request.boxes or (), self.classes)] * n if "boxes" in self.needs else None
        image, segmentation, key = self.image_and_map(request)
        maps = pixels = small = None
        if segmentation is not None:
            maps = np.repeat(self._segmentation(Path(segmentation), key)[None], n, axis=0)
        if image is not None:
            # a task that starts from an image needs a whole one, which the conditioner makes small itself
            enlarges = self.low_resolution_size is not None and not self.task.needs_images
            if enlarges and min(image_size(Path(image))) < self.size:
                small = np.repeat(self.image(Path(image), self.low_resolution_size or self.size)[None], n, axis=0)
            else:
                pixels = np.repeat(self.image(Path(image), self.size)[None], n, axis=0)
        extra = {
            name: _in_turn(annotation_kind(name).request, request.annotations[name], n)
            for name in sorted(self.needs - set(BUILT_IN))
        }
        annotations = Annotations(labels, tuple(self.classes), captions, boxes, maps, tuple(self.segments), extra)
        return Source(n, annotations, pixels, low_resolution=small)

    def _labels(self, request: Request) -> np.ndarray:
        """The class of the request for all samples; classes in turn without one. The user learns which they are."""
        labels = self._chosen_labels(request)
        drawn = [class_title(int(k), self.classes) for k in dict.fromkeys(labels.tolist())]
        self.messages.append(f"{'classes' if len(drawn) > 1 else 'class'} {shortlist(drawn, MAX_CLASSES)}")
        return labels

    def _chosen_labels(self, request: Request) -> np.ndarray:
        if request.class_ is not None and request.class_.isdecimal() and request.class_ not in self.classes:
            do = f"A number is given by label={request.class_}."
            raise ConfigError("class", "the name of a class", request.class_, do)
        if request.class_ is not None:
            return np.full(request.count, class_index(request.class_, self.classes, "class"), dtype=np.int64)
        if request.label is not None:
            if not 0 <= request.label < len(self.classes):
                raise ConfigError("label", f"the number of a class, 0 … {len(self.classes) - 1}", request.label)
            return np.full(request.count, request.label, dtype=np.int64)
        return np.arange(request.count, dtype=np.int64) % len(self.classes)

    def _segmentation(self, path: Path, key: str) -> UInt8[np.ndarray, "size size"]:
        """A map file, whose levels (or palette indices) are classes: its middle square, resized by nearest.

        key: of the request, for errors. Raises ConfigError.
        """
        try:
            numbers, last = class_numbers(path), len(self.segments) - 1
        except DataError as e:
            raise ConfigError(key, "a map: an image in grey or with a palette", str(path), str(e)) from None
        if self.segments[last] == UNLABELLED:
            numbers = np.where(numbers == VOID, last, numbers).astype(np.uint8)
        if (highest := int(numbers.max())) > last:
            named = ", ".join(f"{i} {name}" for i, name in enumerate(self.segments))
            raise ConfigError(key, f"a map of the classes {named}", f"the class {highest}")
        return square(numbers, self.size)

    def image(self, path: Path, size: int) -> UInt8[np.ndarray, "size size C"]:
        """The image of a file, prepared as training images are: its middle square, resized, in the channels of the
        model's images. Raises ConfigError."""
        try:
            width, height = image_size(path)
            dark = DarkImages("image")
            image = read_image(path, size, "lanczos", dark=dark)
            dark.say()
        except DataError as e:
            raise ConfigError("image", "an image file", str(path), str(e)) from None
        if (width, height) != (size, size):
            self.messages.append(f"{path}: {width}x{height} pixels; its middle square is used, in {size}x{size}")
        return in_channels(image, self.channels)

    def mask(self, request: Request) -> Float32[np.ndarray, "size size"] | None:
        """The mask of the request, cut and resized as its image: shares to fill; None without. Raises ConfigError."""
        if request.mask is None or request.image is None:
            return None
        width, height = image_size(Path(request.image))
        mask = read_mask(Path(request.mask), (height, width), "mask")
        out = square(mask, self.size)
        if out.min() == 1 or out.max() == 0:
            raise ConfigError("mask", "something to fill and something to keep in the middle square", request.mask)
        self.messages.append(f"{request.mask}: {out.mean():.0%} of the image is filled")
        return out


def _form(key: str) -> str:
    """The form in which a key of a request is typed."""
    name = key.removeprefix("annotations.")
    return f"annotations={{{name}: VALUE}}" if name != key else f"{key}=…"


def _in_turn(key: str, value: Any, n: int) -> Shaped[np.ndarray, "n ..."]:
    """Values of a further annotation, a row a sample: one for all, or those of a list in turn. Raises ConfigError."""
    values = value if isinstance(value, list | tuple) else [value]
    try:
        numbers = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0, dtype=np.float32)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ConfigError(key, "a number, or a list of numbers", value)
    return numbers[np.arange(n) % len(numbers)]
