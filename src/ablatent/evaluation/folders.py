"""Folders of images as arrays that are read slice by slice."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.images import REQUEST_CHUNK
from ablatent.core.progress import track
from ablatent.data.decode import ORIENTATION, SUFFIXES, DarkImages, read_rgb, readable, upright_size

READERS = ("ablatent", "torch_fidelity")
"""How a file becomes pixels: as training reads it (`data.decode`), or as torch-fidelity's command does, by Pillow's
conversion to RGB alone: alpha is dropped, EXIF is not applied, and 16-bit grey is clipped at 255."""


class FolderImages:
    """The images directly in a folder, in order of name: a length, and uint8 (n, H, W, 3) for a slice.

    reader: of READERS. Hidden files, files of other formats, subfolders, and the grid that do=sample writes beside its
    images are left out; `left_out` has the names of each kind. Raises ConfigError for another reader, DataError for a
    folder that is missing or has no image, for images of different sizes, and for a file that cannot be read.
    """

    def __init__(self, folder: Path | str, reader: str = "ablatent"):
        folder = Path(folder)
        if reader not in READERS:
            raise ConfigError("--reader", " or ".join(READERS), reader, did_you_mean(reader, READERS))
        if not folder.is_dir():
            parent = folder.absolute().parent
            near = did_you_mean(
                folder.name, [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
            )
            raise DataError(f"{folder}: expected a folder of images; there is none. {near}".rstrip())
        self.folder, self.reader = folder, reader
        self.left_out: dict[str, list[str]] = {}
        self.files: list[Path] = []
        for path in sorted(folder.iterdir()):
            if reason := _left_out(path):
                self.left_out.setdefault(reason, []).append(path.name)
            else:
                self.files.append(path)
        if not self.files:
            kinds, others = ", ".join(SUFFIXES), self._reasons()
            raise DataError(f"{folder}: expected images directly in it ({kinds}); got none. {others}".rstrip())
        self.dark, self.otherwise = DarkImages(str(folder)), list[str]()
        sizes = []
        with track(f"headers of {folder}", len(self.files), "images") as bar:
            for file in self.files:
                sizes.append(self._header(file))
                bar.advance()
        self.size = sizes[0]
        for file, size in zip(self.files, sizes, strict=True):
            if size != self.size:
                raise DataError(
                    f"{folder}: expected images of one size; {self.files[0].name} has {self.size[0]}x{self.size[1]} "
                    f"px, {file.name} {size[0]}x{size[1]}. Resize them first, or take out what is no image of the set."
                )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        images = np.empty((len(self.files[rows]), self.size[1], self.size[0], 3), dtype=np.uint8)
        for image, file in zip(images, self.files[rows], strict=True):
            image[...] = np.asarray(self._read(file))
        return images

    def _read(self, file: Path) -> Image.Image:
        if self.reader == "ablatent":
            return read_rgb(file, dark=self.dark)
        with readable(str(file)), Image.open(file) as image:
            return image.convert("RGB")

    def describe(self) -> Iterator[str]:
        """Lines for the user: how many files were found, used and left out, and why."""
        found = len(self.files) + sum(len(names) for names in self.left_out.values())
        left_out = "; left out: " + self._reasons() if self.left_out else ""
        yield f"{self.folder}: {found} found, {len(self.files)} used{left_out}"
        if self.otherwise:
            which = f"{_some(self.otherwise)} with EXIF orientation, transparency or more than 8 bits"
            other = {
                "ablatent": "read as training reads them; --reader torch_fidelity reads as torch-fidelity's command",
                "torch_fidelity": "of which training reads other pixels; --reader ablatent reads as training",
            }
            yield f"{self.folder}: {which}, {other[self.reader]}"

    def _reasons(self) -> str:
        return ", ".join(f"{reason}: {_some(names)}" for reason, names in self.left_out.items())

    def _header(self, file: Path) -> tuple[int, int]:
        """(width, height) in which the reader gives the image; notes one that the readers give otherwise."""
        with readable(str(file)), Image.open(file) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            turned = image.getexif().get(ORIENTATION, 1) != 1
            if deep or turned or image.has_transparency_data:
                self.otherwise.append(file.name)
            return upright_size(image) if self.reader == "ablatent" else image.size


def _some(names: list[str]) -> str:
    return f"{len(names)} ({names[0]}{', …' if len(names) > 1 else ''})"


def _left_out(path: Path) -> str:
    """Why a path in a folder is no image of its set; an empty string for one that is."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "subfolders"
    if path.suffix.lower() not in SUFFIXES:
        return "other formats"
    return "grid of do=sample" if path.suffix.lower() == ".png" and _is_grid(path) else ""


def _is_grid(path: Path) -> bool:
    """Whether do=sample wrote this PNG file as the grid of all images of a request."""
    try:
        with Image.open(path) as image:
            return json.loads(image.info[REQUEST_CHUNK])["index"] is None
    except (OSError, SyntaxError, KeyError, TypeError, ValueError):
        return False
