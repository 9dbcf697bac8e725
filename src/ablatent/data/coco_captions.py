"""COCO (Lin et al. 2014) with its captions (Chen et al. 2015). Free of torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ablatent.core.errors import DataError
from ablatent.core.fields import OneOf
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row
from ablatent.data.captions import NO_CAPTION
from ablatent.data.decode import SUFFIXES, check_option
from ablatent.data.files import (
    FAULT_WAYS,
    ImageFiles,
    OnFault,
    absent_images,
    cached_per_file,
    find_images,
    first_of,
)
from ablatent.data.listing import list_files

PARTS = {"train": TRAIN, "val": VALIDATION}


@dataclass(frozen=True, kw_only=True)
class CocoCaptions(ImageFiles):
    """train2017/ and val2017/ with annotations/captions_train2017.json and captions_val2017.json.

    Of the five captions of an image, its oldest (lowest id) is taken. Images without a caption are left out.
    on_missing: error or skip, for captions whose image is not there.
    """

    year: Annotated[int, OneOf((2014, 2017)), "of the release"] = 2017
    on_missing: Annotated[OnFault, "captions whose image is not there: error, or skip"] = "error"

    name: ClassVar[str] = "coco_captions"
    obtain: ClassVar[str] = "COCO: train and val images with their annotations, from cocodataset.org."
    offers: ClassVar[tuple[str, ...]] = ("captions",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("on_missing", self.on_missing, FAULT_WAYS)
        for part in PARTS:
            first_of(self.folder, [f"{part}{self.year}"], "COCO's images")
            self.annotation_file(part)

    def annotation_file(self, part: str) -> Path:
        """The file of captions of a part, train or val. Raises ConfigError where it is not there."""
        return first_of(self.folder, [f"annotations/captions_{part}{self.year}.json"], "COCO's captions")

    def all_rows(self) -> list[Row]:
        rows, absent = [], list[str]()
        for part, split in PARTS.items():
            there = set(list_files(self.folder / f"{part}{self.year}").files)
            captioned = sorted(_captions(self.annotation_file(part)))
            absent += [f"{part}{self.year}/{name}" for name in captioned if name not in there]
            rows += [Row(f"{part}{self.year}/{name}", split) for name in captioned if name in there]
        if absent and self.on_missing == "error":
            raise absent_images(absent, self.folder)
        return rows

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        used, left_out = super().chosen()
        images = find_images(self.folder, [f"{part}{self.year}" for part in PARTS], SUFFIXES)
        return used, {NO_CAPTION: len(images) - len(used) - sum(left_out.values()), **left_out}

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        of_folder = {f"{part}{self.year}": _captions(self.annotation_file(part)) for part in PARTS}
        return Annotations(captions=[of_folder[folder][name] for folder, name in (r.id.split("/") for r in rows)])


@cached_per_file
def _captions(file: Path) -> dict[str, str]:
    """File name → caption. Raises DataError for JSON of another kind."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        names = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        oldest: dict[int, tuple[int, str]] = {}
        for note in content["annotations"]:
            found = (int(note["id"]), " ".join(str(note["caption"]).split()))
            image = int(note["image_id"])
            oldest[image] = min(oldest.get(image, found), found)
        return {names[image]: caption for image, (_, caption) in oldest.items()}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: expected COCO's captions (images with id and file_name, annotations with id, image_id and "
            f"caption); {type(error).__name__}: {error}"
        ) from error
