"""Open Images (Kuznetsova et al. 2020) with its boxes. Free of torch."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Count
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row
from ablatent.data.boxes import Box, in_middle_square
from ablatent.data.decode import image_size
from ablatent.data.files import ImageFiles, cached_per_file, first_of

PARTS = {"train": TRAIN, "validation": VALIDATION}
BOXES = ("{part}-annotations-bbox.csv", "oidv6-{part}-annotations-bbox.csv")
CLASSES = ("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv")
OTHER_BOXES = "with fewer boxes than data.min_boxes or more than data.max_boxes"
COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")


@dataclass(frozen=True, kw_only=True)
class OpenImagesBoxes(ImageFiles):
    """train/ID.jpg and validation/ID.jpg, with boxes and class names in CSV files as published, below root.

    min_boxes, max_boxes: images with fewer or more boxes are left out (Rombach et al. 2022 train layouts on 2 to 30),
    and so are images that were not downloaded. Boxes are those of the middle square.
    """

    min_boxes: Annotated[Count, "images with fewer are left out"] = 2
    max_boxes: Annotated[Count, "images with more are left out"] = 30

    name: ClassVar[str] = "openimages_boxes"
    obtain: ClassVar[str] = "Open Images: images, boxes and class names from storage.googleapis.com/openimages."
    published_classes: ClassVar[int] = 601
    offers: ClassVar[tuple[str, ...]] = ("boxes",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.min_boxes <= self.max_boxes:
            raise ConfigError("data.min_boxes", f"from 1 to data.max_boxes={self.max_boxes}", self.min_boxes)
        self.file(CLASSES, "")
        for part in PARTS:
            first_of(self.folder, [part], "the images of Open Images")
            self.file(BOXES, part)

    def file(self, names: Sequence[str], part: str) -> Path:
        """The first of BOXES or CLASSES that is there for a part (train, validation). Raises ConfigError for none."""
        return first_of(self.folder, [n.format(part=part) for n in names], "the tables of Open Images")

    def all_rows(self) -> list[Row]:
        rows = []
        for part, split in PARTS.items():
            there = self.downloaded(part)
            counts = {image: len(boxes) for image, boxes in _boxes(self.file(BOXES, part)).items() if image in there}
            chosen = sorted(image for image, n in counts.items() if self.min_boxes <= n <= self.max_boxes)
            rows += [Row(f"{part}/{image}.jpg", split) for image in chosen]
        if not rows:
            raise ConfigError("data.root", "images train/ID.jpg and validation/ID.jpg that have boxes", self.root)
        return rows

    def downloaded(self, part: str) -> set[str]:
        """The ids of the images of a part that are there."""
        return {p.stem for p in (self.folder / part).glob("*.jpg")}

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        used, left_out = super().chosen()
        there = sum(len(self.downloaded(part)) for part in PARTS)
        return used, {OTHER_BOXES: there - len(used) - sum(left_out.values()), **left_out}

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        file = self.file(CLASSES, "")
        names = dict(_lines(file))
        number = {code: i for i, code in enumerate(names)}
        boxes: list[list[Box]] = []
        for row in rows:
            part, image = row.id.removesuffix(".jpg").split("/")
            found = _boxes(self.file(BOXES, part))[image]
            if unknown := [code for code, *_ in found if code not in number]:
                raise DataError(f"{file}: expected the class {unknown[0]}, which image {image} has; it is not there.")
            whole = [(number[code], *corners) for code, *corners in found]
            boxes.append(in_middle_square(whole, *image_size(self.folder / row.id)))  # type: ignore[arg-type]
        return Annotations(classes=tuple(names.values()), boxes=boxes)


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """(code, name) of each class; the newest edition begins with a line of column names."""
    with file.open(encoding="utf-8-sig", newline="") as f:
        for number, line in enumerate(csv.reader(f), 1):
            if len(line) != 2:
                raise DataError(f"{file}, line {number}: expected a class and its name; got {line}.")
            if line[0] != "LabelName":
                yield line[0], line[1]


@cached_per_file
def _boxes(file: Path) -> dict[str, list[tuple[str, float, float, float, float]]]:
    """Image → (class, x0, y0, x1, y1) of its boxes, relative to the whole image."""
    found: dict[str, list[tuple[str, float, float, float, float]]] = {}
    with file.open(encoding="utf-8-sig", newline="") as f:
        reader = csv.DictReader(f)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise DataError(f"{file}: expected the columns {', '.join(COLUMNS)}; got {reader.fieldnames}.")
        for line in reader:
            try:
                corners = tuple(float(line[c]) for c in ("XMin", "YMin", "XMax", "YMax"))
            except (TypeError, ValueError):
                raise DataError(f"{file}, line {reader.line_num}: expected four numbers; got {line}.") from None
            found.setdefault(line["ImageID"], []).append((line["LabelName"], *corners))  # type: ignore[arg-type]
    return found
