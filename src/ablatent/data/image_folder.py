"""Any folder of images, with class subfolders, split subfolders and captions where it has them. Free of torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.data.base import TRAIN, VALIDATION, Annotations, ImageData, Row, check_fraction, split_by_hash
from ablatent.data.captions import caption_file, read_captions
from ablatent.data.hashing import file_digests

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
# The first that stands beside train/ is the validation split.
VALIDATION_FOLDERS = ("val", "validation", "valid", "test")
CLASS_WAYS = ("auto", "folder", "none")


@dataclass(frozen=True)
class ImageFolder(ImageData):
    """Images below `root` (png, jpg, jpeg, webp, bmp), cropped to the middle square; transparency becomes white.

    resize: antialiasing filter (lanczos, bicubic, bilinear, box) that brings the shorter side to `size`.
    classes: ``auto`` (first subfolder, if all images have one and there are at least two), ``folder`` (must), ``none``.
    captions: None; ``txt`` for NAME.txt beside each image; or a .jsonl or .csv file with the columns file and caption,
    relative to root. validation_fraction: share held out, unless root has train/ and one of val/, validation/, valid/,
    test/, which decide then.
    cache: folder for the digests of files, so that an unchanged file is read once; None: read all each time.
    """

    root: str = ""
    resize: str = "lanczos"
    classes: str = "auto"
    captions: str | None = None
    validation_fraction: float = 0.1
    cache: str | None = "~/.cache/ablatent"

    name: ClassVar[str] = "image_folder"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        for key, value, options in (("resize", self.resize, FILTERS), ("classes", self.classes, CLASS_WAYS)):
            if value not in options:
                raise ConfigError(f"data.{key}", f"one of {', '.join(options)}", value, did_you_mean(value, options))
        check_folder(self.root)
        if len(self.all_rows()) < 2:
            kinds = ", ".join(s[1:] for s in SUFFIXES)
            raise ConfigError("data.root", f"a folder with at least two images ({kinds})", self.root)
        if self.captions is not None:
            caption_file(self.folder, self.captions)

    @property
    def folder(self) -> Path:
        return Path(self.root).expanduser()

    def split_folders(self) -> dict[str, int]:
        """Subfolders that decide the split, or none."""
        held_out = next((v for v in VALIDATION_FOLDERS if (self.folder / v).is_dir()), None)
        return {"train": TRAIN, held_out: VALIDATION} if held_out and (self.folder / "train").is_dir() else {}

    def all_rows(self) -> list[Row]:
        folders = self.split_folders()
        paths = [p.relative_to(self.folder) for f in folders or [""] for p in (self.folder / f).rglob("*")]
        # Hidden files are left alone: macOS writes ._picture.jpg beside pictures.
        ids = sorted(
            p.as_posix() for p in paths if p.suffix.lower() in SUFFIXES and not any(s.startswith(".") for s in p.parts)
        )
        if folders:
            splits = [folders[i.split("/", 1)[0]] for i in ids]
        else:
            splits = split_by_hash(ids, self.validation_fraction)
        return [Row(i, split) for i, split in zip(ids, splits, strict=True)]

    def content(self, rows: Sequence[Row]) -> Any:
        # Pillow's version stays out: its filters are defined by their formula, and an update should retrain nothing.
        return {"files": file_digests(self.folder, [r.id for r in rows], self.cache), "resize": self.resize}

    def pictures(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        for row in rows:
            yield read_picture(self.folder / row.id, self.size, FILTERS[self.resize])

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        labels, classes = None, self.class_names()
        if classes:
            number = {c: i for i, c in enumerate(classes)}
            labels = np.array([number[c] for c in self.classes_of(rows)], dtype=np.int64)
        captions = None if self.captions is None else read_captions(self.folder, self.captions, [r.id for r in rows])
        return Annotations(labels, classes, captions)

    def classes_of(self, rows: Sequence[Row]) -> list[str]:
        """Of each row, the first subfolder below the split folder, or an empty string."""
        skip = 1 if self.split_folders() else 0
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


def check_folder(root: str) -> None:
    """Raises ConfigError for a folder that is not there, with the nearest one that is."""
    path = Path(root).expanduser()
    if root and path.is_dir():
        return
    parent = next(p for p in path.absolute().parents if p.is_dir())
    missing = path.absolute().relative_to(parent).parts[0] if root else ""
    do = did_you_mean(missing, [p.name for p in parent.iterdir() if p.is_dir()]) if root else "Do: data.root=FOLDER"
    where = f"The nearest folder that exists is {parent}." if root else ""
    raise ConfigError("data.root", "an existing folder of images", root, " ".join(t for t in (where, do) if t))


def read_picture(path: Path, size: int, resample: Image.Resampling) -> UInt8[np.ndarray, "size size 3"]:
    """One image as RGB: upright by EXIF, on white, middle square, resized. Raises DataError naming a broken file."""
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    # Pillow's decoders raise any of these for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}. Do: mend or remove the file") from error
    rgb = to_rgb(upright)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    # Cropping within the resize equals resizing the shorter side and cropping, without rounding the longer one.
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), resample, box=box))


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB with transparency laid on white; 16-bit grey keeps its upper 8 bits (Pillow's conversion would clip it)."""
    if image.mode.startswith("I"):
        levels = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
