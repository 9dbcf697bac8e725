"""Data sets of synthetic images on disk, in the formats that can be read."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ablatent.data.image_folder import ImageFolder
from ablatent.data.lsun import LSUN
from ablatent.data.webdataset import WebDataset

SIDE, SIZE = 256, 64
"""Of the files, and of the prepared images."""


def _encoded(count: int, kind: str) -> list[bytes]:
    """Images of smooth noise, as compressible as photographs are, roughly."""
    draw = np.random.default_rng(0)
    out = []
    for _ in range(count):
        small = draw.integers(0, 256, size=(SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, kind)
        out.append(file.getvalue())
    return out


def _folder(root: Path, images: list[bytes], suffix: str) -> None:
    (root / "all").mkdir(parents=True)
    for i, image in enumerate(images):
        (root / "all" / f"{i:06d}.{suffix}").write_bytes(image)


def _lmdb(root: Path, images: list[bytes]) -> None:
    import lmdb

    half = len(images) // 10
    for part, chosen in (("val", images[:half]), ("train", images[half:])):
        with (
            lmdb.open(str(root / f"bedroom_{part}_lmdb"), map_size=1 << 30) as database,
            database.begin(write=True) as t,
        ):
            for i, image in enumerate(chosen):
                t.put(f"{i:08d}".encode(), image)


def _shards(root: Path, images: list[bytes]) -> None:
    with tarfile.open(root / "train-0000.tar", "w") as shard:
        for i, image in enumerate(images):
            member = tarfile.TarInfo(f"{i:06d}.jpg")
            member.size = len(image)
            shard.addfile(member, io.BytesIO(image))


def written(kind: str, root: Path, count: int) -> Any:
    """The data set of so many images, written below root. kind: png, jpg (folders), lsun or webdataset (of JPEG)."""
    root.mkdir(parents=True, exist_ok=True)
    images = _encoded(count, "PNG" if kind == "png" else "JPEG")
    options: dict[str, Any] = {"root": str(root), "size": SIZE, "cache": None}
    if kind == "lsun":
        _lmdb(root, images)
        return LSUN(**options)
    if kind == "webdataset":
        _shards(root, images)
        return WebDataset(**options, train="*train*.tar")
    _folder(root, images, kind)
    return ImageFolder(**options)
