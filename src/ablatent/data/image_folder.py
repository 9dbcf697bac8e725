"""Any folder of images, with class and split subfolders, captions and maps where it has them. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from ablatent.core.errors import ConfigError
from ablatent.core.fields import OneOf, Text
from ablatent.data.base import Annotations, Fingerprint, Row, check_fraction, digest_of, split_by_hash
from ablatent.data.captions import caption_file, read_captions
from ablatent.data.decode import SUFFIXES, check_option
from ablatent.data.files import ImageFiles, find_images, split_folders, too_few
from ablatent.data.maps import class_list, map_digests, maps_folder, read_maps

CLASS_WAYS = ("auto", "folder", "none")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageFiles):
    """Images below `root` (png, jpg, jpeg, webp, bmp).

    classes: ``auto`` (first subfolder, if all images have one and there are at least two), ``folder`` (must), ``none``.
    captions: None; ``txt`` for NAME.txt beside each image; or a .jsonl or .csv file with the columns file and caption,
    relative to root. maps: None, or a folder, relative to root, with the segmentation map of each image: a PNG of class
    numbers, of the image's size and with its path; what lies there is no image of the set. map_classes: how many
    classes there are, or a text file, relative to root, with their names, one a line; pixels of 255 belong to one class
    more. validation_fraction: share held out, unless root has train/ and one of val/, validation/, valid/, test/, which
    decide then.
    """

    classes: Annotated[
        str, OneOf(CLASS_WAYS), "auto: subfolders, if all images are in one; folder: they must be; none"
    ] = "auto"
    captions: Annotated[
        Text | None, "a .jsonl or .csv below root with file and caption; txt: NAME.txt beside each image"
    ] = None
    maps: Annotated[Text | None, "folder below root with the segmentation map of each image"] = None
    map_classes: Annotated[Annotated[int, Ge(1)] | Text | None, "how many, or a text file with a name a line"] = None
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1

    name: ClassVar[str] = "image_folder"
    offers: ClassVar[tuple[str, ...]] = ("labels", "captions", "segmentation")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        check_option("classes", self.classes, CLASS_WAYS)
        if len(self.all_rows()) < 2:
            raise too_few(self.root, SUFFIXES)
        if self.captions is not None:
            caption_file(self.folder, self.captions)
        if self.maps is None and self.map_classes is not None:
            raise ConfigError("data.map_classes", "null without data.maps", self.map_classes)
        if self.maps_folder is not None:
            class_list(self.folder, self.map_classes)

    @property
    def maps_folder(self) -> Path | None:
        """The folder of segmentation maps, None without `maps`. Raises ConfigError where it is not there."""
        return None if self.maps is None else maps_folder(self.folder, self.maps)

    def all_rows(self) -> list[Row]:
        folders = split_folders(self.folder)
        ids = find_images(self.folder, folders or [""], SUFFIXES)
        root, maps = self.folder.resolve(), self.maps_folder
        if maps is not None and maps.resolve().is_relative_to(root):
            ids = [i for i in ids if not (root / i).is_relative_to(maps.resolve())]
        if folders:
            splits = [folders[i.split("/", 1)[0]] for i in ids]
        else:
            splits = split_by_hash(ids, self.validation_fraction)
        return [Row(i, split) for i, split in zip(ids, splits, strict=True)]

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        annotations = self._without_maps(rows)
        if self.maps_folder is None:
            return annotations
        classes = class_list(self.folder, self.map_classes)
        maps = read_maps(self.maps_folder, [r.id for r in rows], self.size, classes)
        return replace(annotations, segmentation=maps, segments=classes)

    def fingerprint(self) -> Fingerprint:
        """Maps enter by the bytes of their files, which are checked here."""
        if self.maps_folder is None:
            return super().fingerprint()
        rows, classes = self.rows(), class_list(self.folder, self.map_classes)
        maps = {
            "files": map_digests(self.folder, self.maps_folder, [r.id for r in rows], classes, self.cache),
            "classes": classes,
            "size": self.size,
        }
        annotations = digest_of({"known": self._without_maps(rows).digest(), "maps": maps})
        return Fingerprint(self.images_digest(rows), annotations)

    def _without_maps(self, rows: Sequence[Row]) -> Annotations:
        labels, classes = None, self.class_names()
        if classes:
            number = {c: i for i, c in enumerate(classes)}
            labels = np.array([number[c] for c in self.classes_of(rows)], dtype=np.int64)
        captions = None if self.captions is None else read_captions(self.folder, self.captions, [r.id for r in rows])
        return Annotations(labels, classes, captions)

    def classes_of(self, rows: Sequence[Row]) -> list[str]:
        """Of each row, the first subfolder below the split folder, or an empty string."""
        skip = 1 if split_folders(self.folder) else 0
        parts = [r.id.split("/")[skip:] for r in rows]
        return [p[0] if len(p) > 1 else "" for p in parts]

    def class_names(self) -> tuple[str, ...]:
        """Sorted names of all classes of the folder, also of those that `limit` leaves without images."""
        if self.classes == "none":
            return ()
        rows = self.all_rows()
        found = {c: r.id for c, r in zip(self.classes_of(rows), rows, strict=True)}
        if self.classes == "folder" and "" in found:
            raise ConfigError("data.classes", "every image in a class subfolder", found[""], "Do: data.classes=none")
        if self.classes == "auto" and ("" in found or len(found) < 2):
            return ()
        return tuple(sorted(found))
