"""ImageNet-1k (Russakovsky et al. 2015), as its archives unpack. Free of torch."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Text
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row
from ablatent.data.files import ImageFiles, cached_per_file, find_images, first_of
from ablatent.data.listing import in_order, is_utf8

SUFFIXES = (".jpeg", ".jpg")
DEVKIT = "ILSVRC2012_devkit_t12/data"
# Where the labels of a flat val/ are looked for: the devkit's, and those of the Kaggle edition.
LABELS = (f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt", "LOC_val_solution.csv")
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")
META = "meta.mat"
PARTS = {"train": TRAIN, "val": VALIDATION}


@dataclass(frozen=True, kw_only=True)
class ImageNet(ImageFiles):
    """train/WNID/*.JPEG, and val/WNID/*.JPEG or val/*.JPEG with a file of labels; classes in the order of their WNIDs.

    val_labels: the devkit's ILSVRC2012_validation_ground_truth.txt (with meta.mat beside it) or Kaggle's
    LOC_val_solution.csv, relative to root; None: the default places below root. Class names come from meta.mat, from
    LOC_synset_mapping.txt or from synset_words.txt below root; without any of them they are the WNIDs.
    """

    val_labels: Annotated[Text | None, "labels of a val/ without class folders; null: looked for"] = None

    name: ClassVar[str] = "imagenet"
    obtain: ClassVar[str] = (
        "ImageNet-1k: from image-net.org or Kaggle (imagenet-object-localization-challenge), with an account there."
    )
    published_classes: ClassVar[int] = 1000
    offers: ClassVar[tuple[str, ...]] = ("labels",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in PARTS:
            first_of(self.folder, [part], "ImageNet's images")
        if self.val_labels is not None and not (self.folder / self.val_labels).is_file():
            raise ConfigError(
                "data.val_labels", f"an existing file; looked for {self.folder / self.val_labels}", self.val_labels
            )

    def all_rows(self) -> list[Row]:
        rows = []
        for part, split in PARTS.items():
            rows += [Row(i, split) for i in find_images(self.folder, [part], SUFFIXES) if is_utf8(i)]
        return rows

    def image_names(self) -> list[str]:
        return find_images(self.folder, PARTS, SUFFIXES)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        wnids = self.wnids()
        number = {wnid: i for i, wnid in enumerate(wnids)}
        flat = any(r.id.count("/") == 1 for r in rows)
        of_file = _validation_labels(self.labels_file()) if flat else {}
        labels = []
        for row in rows:
            parts = row.id.split("/")
            wnid = parts[1] if len(parts) > 2 else of_file.get(Path(row.id).stem, "")
            if wnid not in number:
                raise DataError(
                    f"{self.folder / row.id}: expected a class with a folder in train/; got {wnid or 'none'}."
                )
            labels.append(number[wnid])
        names = self.names()
        return Annotations(np.array(labels, dtype=np.int64), tuple(names.get(w, w) for w in wnids))

    def wnids(self) -> list[str]:
        """The classes: the folders of train/, in order. Raises ConfigError where there are none."""
        found = in_order(p.name for p in (self.folder / "train").iterdir() if p.is_dir() and p.name[0] != ".")
        if not found:
            raise ConfigError("data.root", "a folder with train/WNID/*.JPEG", self.root)
        return list(found)

    def labels_file(self) -> Path:
        """The file with the labels of a flat val/. Raises ConfigError that names all places."""
        if self.val_labels is not None:
            return self.folder / self.val_labels
        return first_of(self.folder, LABELS, "the labels of val/, as it has no class folders")

    def names(self) -> dict[str, str]:
        """WNID → the first of its names; empty where no file of names is found."""
        beside = None if self.val_labels is None else (self.folder / self.val_labels).parent
        for meta in [*([beside / META] if beside else []), self.folder / DEVKIT / META]:
            if meta.is_file():
                return {wnid: words.split(",")[0] for _, wnid, words in _synsets(meta)}
        for name in NAMES:
            if (self.folder / name).is_file():
                lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
                return {line.split(" ", 1)[0]: line.split(" ", 1)[-1].split(",")[0] for line in lines if line.strip()}
        return {}


@cached_per_file
def _validation_labels(file: Path) -> dict[str, str]:
    """Name of a validation image, without suffix → WNID. Raises DataError for another kind of file."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        if not rows or not {"ImageId", "PredictionString"} <= set(rows[0]):
            got = list(rows[0]) if rows else "nothing"
            raise DataError(f"{file}: expected the columns ImageId and PredictionString; got {got}.")
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    wnid_of = {number: wnid for number, wnid, _ in _synsets(file.parent / META)}
    found = {}
    for i, line in enumerate(file.read_text(encoding="utf-8").split(), 1):
        if not line.isdigit() or int(line) not in wnid_of:
            raise DataError(f"{file}, line {i}: expected the number of a class of {META}; got {line!r}.")
        found[f"ILSVRC2012_val_{i:08d}"] = wnid_of[int(line)]
    return found


@cached_per_file
def _synsets(meta: Path) -> list[tuple[int, str, str]]:
    """(number, WNID, names) of the devkit's classes; those that stand for several others are not among them."""
    from scipy.io import loadmat

    try:
        synsets: Any = loadmat(str(meta), squeeze_me=True)["synsets"]
        # a class that others are part of has children; the devkit numbers it above 1,000
        return [
            (int(s["ILSVRC2012_ID"]), str(s["WNID"]), str(s["words"])) for s in synsets if int(s["num_children"]) == 0
        ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{meta}: expected the devkit's table of synsets; {type(error).__name__}: {error}") from error
