"""Fashion-MNIST (Xiao et al. 2017): 70,000 images of clothes, 28×28, 10 classes. Only a download needs torch."""

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.core.fields import Text
from ablatent.data.base import TRAIN, VALIDATION, Annotations, ImageData, Row

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FILES = {
    TRAIN: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    VALIDATION: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
PREFIX = {TRAIN: "train", VALIDATION: "test"}
# Where the Debian package dataset-fashion-mnist installs them.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DEFAULT_ROOT = "~/.cache/ablatent/data"
SIDE, PADDED = 28, 32


@dataclass(frozen=True)
class FashionMNIST(ImageData):
    """60,000 training images, and the 10,000 test images as validation; padded with black to 32×32, then resized.

    root: folder that holds the four idx files (``.gz`` or not), itself or in FashionMNIST/raw; None is
    ~/.cache/ablatent/data. When it has none, Debian's folder serves; when that has none either, and `download` is on,
    torchvision downloads into root.
    """

    root: Annotated[Text | None, "folder with the idx files; null: the project cache, then the Debian package"] = None
    download: Annotated[bool, "by torchvision into root, where no place has the files"] = True

    name: ClassVar[str] = "fashion_mnist"
    offers: ClassVar[tuple[str, ...]] = ("labels",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is not None and not Path(self.root).expanduser().is_dir():
            raise ConfigError("data.root", "an existing folder, or null to look in the default places", self.root)
        if not isinstance(self.download, bool):
            raise ConfigError("data.download", "true or false", self.download)

    @property
    def folder(self) -> Path:
        """`root`, or the default folder; also where a download goes."""
        return Path(self.root or DEFAULT_ROOT).expanduser()

    def source(self) -> Path:
        """The folder with the four files, downloaded if need be. Raises DataError when none of the three ways works."""
        places = [self.folder / "FashionMNIST" / "raw", self.folder, DEBIAN]
        for place in places:
            if _complete(place):
                return place
        why = "data.download is false"
        if self.download:
            from torchvision.datasets import FashionMNIST as Torchvision

            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                Torchvision(str(self.folder), download=True)
            # torchvision lets through whatever its mirrors and the file system raise
            except (OSError, RuntimeError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if _complete(places[0]):
                    return places[0]
                why = f"it left no complete set in {places[0]}"
        raise DataError(
            "Fashion-MNIST was not found. Looked for the four idx files in "
            f"(1) {self.folder} (data.root) and its FashionMNIST/raw, (2) {DEBIAN}, "
            f"(3) a download by torchvision ({why}). "
            "Do: apt install dataset-fashion-mnist, or set data.root to their folder, or data.download=true."
        )

    def all_rows(self) -> list[Row]:
        place = self.source()
        rows: list[Row] = []
        for split, (_, labels) in FILES.items():
            rows += [Row(f"{PREFIX[split]}-{i:05d}", split) for i in range(len(read_idx(place, labels)))]
        return rows

    def content(self, rows: Sequence[Row]) -> Any:
        place = self.source()
        digests = {}
        for split, (images, _) in FILES.items():
            if any(r.split == split for r in rows):
                pixels = read_idx(place, images)
                digests[PREFIX[split]] = [
                    list(pixels.shape),
                    hashlib.blake2b(pixels.tobytes(), digest_size=32).hexdigest(),
                ]
        return {"pixels": digests, "padded": PADDED, "resize": None if self.size == PADDED else "bicubic"}

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        place = self.source()
        images: dict[int, np.ndarray] = {}
        for row in rows:
            if row.split not in images:
                grey = read_idx(place, FILES[row.split][0])
                expected = (len(read_idx(place, FILES[row.split][1])), SIDE, SIDE)
                if grey.shape != expected:
                    raise DataError(f"{place}: expected images of shape {expected}; got {grey.shape}")
                margin = (PADDED - SIDE) // 2
                images[row.split] = np.pad(grey, ((0, 0), (margin, margin), (margin, margin)))
            grey = images[row.split][_number(row)]
            if self.size != PADDED:
                grey = np.asarray(Image.fromarray(grey).resize((self.size, self.size), Image.Resampling.BICUBIC))
            # a view: einops would cost more than all the rest, 70,000 times over
            yield np.broadcast_to(grey[..., None], (*grey.shape, 3))

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        place = self.source()
        by_split = {split: read_idx(place, labels) for split, (_, labels) in FILES.items()}
        labels = np.array([by_split[r.split][_number(r)] for r in rows], dtype=np.int64)
        if labels.max() >= len(CLASSES):
            raise DataError(f"{place}: expected labels 0 to {len(CLASSES) - 1}; got {labels.max()}")
        return Annotations(labels, CLASSES, [CLASSES[i] for i in labels])


def _number(row: Row) -> int:
    return int(row.id.rsplit("-", 1)[1])


def _file(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _complete(folder: Path) -> bool:
    return all(_file(folder, name) for names in FILES.values() for name in names)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """A uint8 array of the idx format (LeCun et al., MNIST), plain or gzipped. Raises DataError for anything else."""
    path = _file(folder, name)
    if path is None:
        raise DataError(f"{folder}: expected {name} or {name}.gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    # two zero bytes, the element type (8: unsigned byte), the number of axes, then each length as a big-endian uint32
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: expected an idx file of unsigned bytes; got a file that starts with {data[:4].hex()}")
    shape = [int(n) for n in np.frombuffer(data, ">u4", count=data[3], offset=4)]
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != int(np.prod(shape)):
        raise DataError(f"{path}: expected {int(np.prod(shape))} values of shape {shape}; got {values.size}")
    return values.reshape(shape)
