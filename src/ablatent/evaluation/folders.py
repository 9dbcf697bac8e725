"""Folders of images as arrays that are read slice by slice."""

from pathlib import Path

import numpy as np

from ablatent.core.errors import DataError, did_you_mean

ENDINGS = (".png", ".jpg", ".jpeg")


class FolderImages:
    """The PNG and JPEG images directly in a folder, in order of name: a length, and uint8 (n, H, W, 3) for a slice.

    Grey and transparent images become RGB by Pillow's conversion (alpha is dropped). Raises DataError for a folder that
    is missing or has no image, for images of different sizes, and for a file that cannot be read.
    """

    def __init__(self, folder: Path | str):
        folder = Path(folder)
        if not folder.is_dir():
            parent = folder.absolute().parent
            near = did_you_mean(
                folder.name, [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
            )
            raise DataError(f"{folder}: expected a folder of images; there is none. {near}".rstrip())
        self.folder = folder
        self.files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
        if not self.files:
            raise DataError(f"{folder}: expected images directly in it ({', '.join(ENDINGS)}); got none.")
        first = self._size(self.files[0])
        for file in self.files[1:]:
            if self._size(file) != first:
                raise DataError(
                    f"{folder}: expected images of one size; {self.files[0].name} has {first[0]}x{first[1]} px, "
                    f"{file.name} {self._size(file)[0]}x{self._size(file)[1]}. Resize them first."
                )
        self.size = first

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        from PIL import Image

        images = np.empty((len(self.files[rows]), self.size[1], self.size[0], 3), dtype=np.uint8)
        for image, file in zip(images, self.files[rows], strict=True):
            try:
                with Image.open(file) as opened:
                    image[...] = np.asarray(opened.convert("RGB"))
            except OSError as error:
                raise DataError(f"{file}: expected an image; it cannot be read ({error}).") from error
        return images

    @staticmethod
    def _size(file: Path) -> tuple[int, int]:
        """(width, height) from the header."""
        from PIL import Image

        try:
            with Image.open(file) as opened:
                return opened.size
        except OSError as error:
            raise DataError(f"{file}: expected an image; it cannot be read ({error}).") from error
