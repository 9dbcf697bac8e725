"""Files of statistics (.npz) of pytorch-fid and of guided-diffusion: moments of features, or the images themselves.

pytorch-fid holds `mu` and `sigma`. guided-diffusion (ADM) also holds `mu_s` and `sigma_s`, of the spatial features, and
takes batches of images, `arr_0`, uint8 (n, h, w, 3), in their place.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ablatent.core.errors import DataError
from ablatent.core.files import write_atomic
from ablatent.evaluation.frechet import FeatureMoments

SUFFIX = ".npz"
MEAN, COVARIANCE, IMAGES = "mu", "sigma", "arr_0"
SPATIAL_MEAN, SPATIAL_COVARIANCE = "mu_s", "sigma_s"
UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for a file, or an array of it, that is damaged, of objects, or none of its own."""
PAIRS = {MEAN: COVARIANCE, SPATIAL_MEAN: SPATIAL_COVARIANCE}


@dataclass(frozen=True)
class Statistics:
    """Moments of the 2048 features, and of the spatial ones where there are some: float64 mean (d,), covariance (d, d).

    arrays: name in the file → array. Raises DataError for arrays that do not belong together.
    """

    arrays: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        for mean, covariance in PAIRS.items():
            if (mean in self.arrays) != (covariance in self.arrays):
                raise DataError(f"statistics: expected {mean} and {covariance} together; got {', '.join(self.arrays)}.")
            if mean in self.arrays:
                shapes = self.arrays[mean].shape, self.arrays[covariance].shape
                if len(shapes[0]) != 1 or shapes[1] != shapes[0] * 2:
                    raise DataError(f"statistics: expected {mean} (d,), {covariance} (d, d); got {shapes}.")
        if MEAN not in self.arrays:
            raise DataError(f"statistics: expected {MEAN} and {COVARIANCE}; got {', '.join(self.arrays) or 'nothing'}.")

    @classmethod
    def of(cls, features: np.ndarray, spatial: np.ndarray | None = None) -> "Statistics":
        """Of features (n, d), and of spatial ones of the same images. Raises DataError for fewer than two images."""
        if len(features) < 2:
            raise DataError(f"statistics: expected at least 2 images; got {len(features)}.")
        moments = FeatureMoments.of(features)
        arrays = {MEAN: moments.mean, COVARIANCE: moments.covariance}
        if spatial is not None:
            moments = FeatureMoments.of(spatial)
            arrays |= {SPATIAL_MEAN: moments.mean, SPATIAL_COVARIANCE: moments.covariance}
        return cls(arrays)

    @classmethod
    def read(cls, path: Path) -> "Statistics":
        """Of a file. Raises DataError for one that cannot be read, or has others than these arrays."""
        with _opened(path) as file:
            names = [n for pair in PAIRS.items() for n in pair if n in file.files]
            if MEAN not in names:
                found = ", ".join(file.files) or "nothing"
                raise DataError(f"{path}: expected {MEAN} and {COVARIANCE}, or images in {IMAGES}; got {found}.")
            return cls({name: _numbers(path, file, name) for name in names})

    def write(self, path: Path) -> None:
        """Write a file that both programs read, atomically; guided-diffusion wants the spatial moments in it."""
        import io

        content = io.BytesIO()
        np.savez(content, **self.arrays)  # type: ignore[arg-type]
        write_atomic(path, content.getvalue())

    def moments_of(self, mean: str) -> FeatureMoments:
        """Of the features whose mean has this name in the file. Raises DataError for what is no covariance."""
        return FeatureMoments.from_covariance(self.arrays[mean], self.arrays[PAIRS[mean]])


class BatchFile:
    """The images of a batch file of guided-diffusion (`arr_0`): a length, and uint8 (n, h, w, 3) for a slice.

    Raises DataError for other arrays than uint8 images.
    """

    def __init__(self, path: Path):
        with _opened(path) as file:
            images = _member(path, file, IMAGES)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
            raise DataError(
                f"{path}: expected {IMAGES} with uint8 images (n, h, w, 3); got {images.dtype} {images.shape}."
            )
        self.path, self.images = path, images
        self.size = (images.shape[2], images.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        return np.asarray(self.images[rows])

    def describe(self) -> str:
        """A line for the user: how many images it has."""
        return f"{self.path}: {len(self)} images of {self.size[0]}x{self.size[1]} px"


def has_images(path: Path) -> bool:
    """Whether a file holds images, not moments. Raises DataError for one that cannot be read."""
    with _opened(path) as file:
        return IMAGES in file.files and MEAN not in file.files


def _numbers(path: Path, file: "np.lib.npyio.NpzFile", name: str) -> Float64[np.ndarray, "..."]:
    values = _member(path, file, name)
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected real numbers in {name}; got an array of {values.dtype}.")
    return np.asarray(values, dtype=np.float64)


def _member(path: Path, file: "np.lib.npyio.NpzFile", name: str) -> np.ndarray:
    """An array of a file, which is read only now."""
    try:
        return np.asarray(file[name])
    except UNREADABLE as error:
        raise DataError(f"{path}: expected a {SUFFIX} file with {name}; it cannot be read ({error}).") from None


def _opened(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        file = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: expected a {SUFFIX} file of statistics or images; it cannot be read ({error})."
        ) from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: expected a {SUFFIX} file with named arrays; got a single array.")
    return file
