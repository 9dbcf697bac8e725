"""Any folder of images, with class and split subfolders, captions and maps where it has them. Free of torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.fields import OneOf, Text
from ablatent.data.base import Annotations, Row, check_fraction, digest_of, split_by_hash
from ablatent.data.captions import NO_CAPTION, caption_files, found_captions, read_captions, without_image
from ablatent.data.counts import Counts
from ablatent.data.damage import problems_of
from ablatent.data.decode import SUFFIXES, check_option
from ablatent.data.files import (
    FAULT_WAYS,
    OF_NO_SPLIT,
    ImageFiles,
    OnFault,
    absent_images,
    has_suffix,
    other_kinds,
    split_folders,
    too_few,
)
from ablatent.data.listing import Names, folded, in_order, is_utf8, list_files, shortlist
from ablatent.data.maps import class_list, map_digests, maps_folder, read_maps, with_maps

CLASS_WAYS = ("auto", "folder", "none")
NO_MAP = "without a segmentation map"


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageFiles):
    """Images below `root` (png, jpg, jpeg, jfif, webp, bmp, tif, tiff, avif, ppm, pgm; of a gif the first frame), also
    below folders that are linked there. Hidden files are left alone.

    classes: ``auto`` (first subfolder, if all images have one and there are at least two), ``folder`` (must), ``none``;
    in alphabetical order, or by number where all are numbers. captions: None; ``txt`` or ``caption`` for NAME.txt or
    NAME.caption beside each image; or a .jsonl or .csv file with the columns file (or file_name) and caption (or text),
    in root, or in each split folder. maps: None, or a folder, relative to root, with the segmentation map of each
    image: a PNG of class numbers, of the image's size and with its path; what lies there is no image of the set.
    map_classes: how many classes there are, or a text file, relative to root, with their names, one a line; pixels of
    255 belong to one class more. on_missing: error: an image without the caption or map that is expected, or a line of
    captions without its image, stops the plan, which names them; skip: such images are left out, and counted, such
    lines passed over. validation_fraction: share held out, unless root has train/ and one of val/, validation/, valid/,
    test/, which decide then.
    """

    classes: Annotated[
        str, OneOf(CLASS_WAYS), "auto: subfolders, if all images are in one; folder: they must be; none"
    ] = "auto"
    captions: Annotated[
        Text | None,
        "a .jsonl or .csv below root with file_name and text; txt or caption: files beside images",
    ] = None
    maps: Annotated[Text | None, "folder below root with the segmentation map of each image"] = None
    map_classes: Annotated[Annotated[int, Ge(1)] | Text | None, "how many, or a text file with a name a line"] = None
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1
    on_missing: Annotated[OnFault, "images without caption or map, captions without image: error, or skip"] = "error"

    name: ClassVar[str] = "image_folder"
    obtain: ClassVar[str] = "It is a folder of your own images."
    offers: ClassVar[tuple[str, ...]] = ("labels", "captions", "segmentation")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        check_option("classes", self.classes, CLASS_WAYS)
        check_option("on_missing", self.on_missing, FAULT_WAYS)
        if self.maps is None and self.map_classes is not None:
            raise ConfigError("data.map_classes", "null without data.maps", self.map_classes)
        if self.maps_folder is not None:
            class_list(self.folder, self.map_classes)
        if self.captions is not None:
            caption_files(self.folder, self.captions, self._split_folders)
        ids, left_out = self.sorted_out()
        if len(ids) < 2:
            raise too_few(self.root, SUFFIXES, left_out)

    @property
    def maps_folder(self) -> Path | None:
        """The folder of segmentation maps, None without `maps`. Raises ConfigError where it is not there."""
        return None if self.maps is None else maps_folder(self.folder, self.maps)

    def images_there(self) -> list[str]:
        """The paths of all images below root but the maps, whatever their names."""
        images = [name for name in list_files(self.folder).files if has_suffix(name, SUFFIXES)]
        if self.maps_folder is None:
            return images
        # by its name, which may be that of a link, and by where it is
        root, maps = self.folder, Path(os.path.normpath(self.maps_folder))
        places = [(root, maps), (root.resolve(), maps.resolve())]
        return [i for i in images if not any((above / i).is_relative_to(folder) for above, folder in places)]

    def image_names(self) -> list[str]:
        folders = split_folders(self.folder)
        return [i for i in self.images_there() if not folders or i.split("/", 1)[0] in folders]

    def sorted_out(self) -> tuple[list[str], dict[str, int]]:
        """(ids of the images of both splits, reason → number of those that are left out)."""
        names, left_out = self.image_names(), dict[str, int]()
        left_out[OF_NO_SPLIT] = len(self.images_there()) - len(names)
        ids = [name for name in names if is_utf8(name)]
        if self.on_missing == "error":
            return ids, left_out
        if self.captions is not None:
            captioned = found_captions(self.folder, self.captions, ids, self._split_folders)
            left_out[NO_CAPTION] = len(ids) - len(captioned)
            ids = [i for i in ids if i in captioned]
        if self.maps_folder is not None:
            mapped = with_maps(self.maps_folder, ids)
            left_out[NO_MAP] = len(ids) - len(mapped)
            ids = list(mapped)
        return ids, left_out

    def all_rows(self) -> list[Row]:
        ids, folders = self.sorted_out()[0], split_folders(self.folder)
        if folders:
            splits = [folders[i.split("/", 1)[0]] for i in ids]
        else:
            splits = split_by_hash(ids, self.validation_fraction)
        return [Row(i, split) for i, split in zip(ids, splits, strict=True)]

    def chosen(self) -> tuple[list[Row], dict[str, int]]:
        used, left_out = super().chosen()
        return used, {**self.sorted_out()[1], **left_out}

    def counts(self) -> Counts:
        """With a remark where images outside of class folders are why there are no classes."""
        counts, rows = super().counts(), self.all_rows()
        loose = [r.id for r, c in zip(rows, self.classes_of(rows), strict=True) if not c]
        if self.classes != "auto" or not 0 < len(loose) < len(rows):
            return counts
        return replace(counts, remark=f"no classes, as {len(loose)} are in no subfolder: {shortlist(loose, 3)}")

    def others(self) -> dict[str, int]:
        return other_kinds(list_files(self.folder), SUFFIXES)

    def problems(self, rows: Sequence[Row]) -> dict[str, str]:
        """Also of their segmentation maps."""
        problems = super().problems(rows)
        if (folder := self.maps_folder) is None:
            return problems
        maps = with_maps(folder, [r.id for r in rows if r.id not in problems])
        found = problems_of(folder, list(maps.values()), self.cache, lambda name: folder / name)
        return {**problems, **{i: f"its map: {found[name]}" for i, name in maps.items() if name in found}}

    def check(self, rows: Sequence[Row]) -> None:
        """Also raises DataError for lines of captions without an image."""
        super().check(rows)
        if self.captions is None or self.on_missing == "skip":
            return
        there = Names(list_files(self.folder).files)
        if lines := without_image(self.folder, self.captions, there, self._split_folders):
            near = did_you_mean(lines[0].partition("(")[2].rstrip(")"), [r.id for r in rows])
            raise absent_images(lines, self.folder, near)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        annotations = self._without_maps(rows)
        if self.maps_folder is None:
            return annotations
        classes = class_list(self.folder, self.map_classes)
        maps = read_maps(self.maps_folder, [r.id for r in rows], self.size, classes)
        return replace(annotations, segmentation=maps, segments=classes)

    def annotations_digest(self, rows: Sequence[Row]) -> str:
        """Maps enter by the bytes of their files, which are checked here."""
        if self.maps_folder is None:
            return super().annotations_digest(rows)
        classes = class_list(self.folder, self.map_classes)
        maps = {
            "files": map_digests(self.folder, self.maps_folder, [r.id for r in rows], classes, self.cache),
            "classes": classes,
            "size": self.size,
        }
        return digest_of({"known": self._without_maps(rows).digest(), "maps": maps})

    def _without_maps(self, rows: Sequence[Row]) -> Annotations:
        labels, classes = None, self.class_names()
        if classes:
            number = {c: i for i, c in enumerate(classes)}
            labels = np.array([number[c] for c in self.classes_of(rows)], dtype=np.int64)
        captions = None
        if self.captions is not None:
            captions = read_captions(self.folder, self.captions, [r.id for r in rows], self._split_folders)
        return Annotations(labels, classes, captions)

    @property
    def _split_folders(self) -> tuple[str, ...]:
        return tuple(split_folders(self.folder))

    def classes_of(self, rows: Sequence[Row]) -> list[str]:
        """Of each row, the first subfolder below the split folder, or an empty string."""
        skip = 1 if split_folders(self.folder) else 0
        parts = [r.id.split("/")[skip:] for r in rows]
        return [folded(p[0]) if len(p) > 1 else "" for p in parts]

    def class_names(self) -> tuple[str, ...]:
        """Names of all classes of the folder, by number, also of those that `limit` leaves without images."""
        if self.classes == "none":
            return ()
        rows = self.all_rows()
        found = {c: r.id for c, r in zip(self.classes_of(rows), rows, strict=True)}
        if self.classes == "folder" and "" in found:
            raise ConfigError("data.classes", "every image in a class subfolder", found[""], "Do: data.classes=none")
        if self.classes == "auto" and ("" in found or len(found) < 2):
            return ()
        return in_order(found)
