"""Fashion-MNIST: the idx format, where it is looked for, padding; on generated files, and Debian's if installed."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.data import fashion_mnist
from ablatent.data.fashion_mnist import CLASSES, DEBIAN, FashionMNIST, read_idx
from ablatent.data.prepared import load_images

COUNTS = {"train": 30, "t10k": 12}


def write_idx(path: Path, values: np.ndarray) -> None:
    data = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def make(folder: Path, suffix: str = ".gz") -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng, written = np.random.default_rng(0), {}
    for part, n in COUNTS.items():
        written[part] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", written[part])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", (np.arange(n) % 10).astype(np.uint8))
    return written


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_made_up_root(tmp_path: Path, below: str, suffix: str) -> None:
    written = make(tmp_path / "root" / below, suffix)
    data = FashionMNIST(size=32, root=str(tmp_path / "root"))
    data.prepare(tmp_path / "out")
    images, notes = load_images(tmp_path / "out"), data.annotations()
    assert len(images.indices("train")) == 30 and len(images.indices("validation")) == 12
    assert np.array_equal(images.pixels[:30, 2:30, 2:30, 1], written["train"])
    assert np.array_equal(images.pixels[30:, 2:30, 2:30, 2], written["t10k"])
    frame = np.ones((32, 32), bool)
    frame[2:30, 2:30] = False
    assert (images.pixels[:, frame] == 0).all()
    assert notes.classes == CLASSES and notes.labels is not None and notes.captions is not None
    assert notes.labels.tolist() == [*(i % 10 for i in range(30)), *(i % 10 for i in range(12))]
    assert notes.captions[9] == "ankle boot"


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    make(tmp_path / "a", ".gz")
    make(tmp_path / "b" / "FashionMNIST" / "raw", "")
    first = FashionMNIST(size=32, root=str(tmp_path / "a")).fingerprint()
    assert first == FashionMNIST(size=32, root=str(tmp_path / "b")).fingerprint(), "place and packing do not count"
    assert first.images != FashionMNIST(size=16, root=str(tmp_path / "a")).fingerprint().images
    write_idx(tmp_path / "a" / "train-labels-idx1-ubyte.gz", np.zeros(30, np.uint8))
    relabelled = FashionMNIST(size=32, root=str(tmp_path / "a")).fingerprint()
    assert relabelled.images == first.images and relabelled.annotations != first.annotations
    pixels = read_idx(tmp_path / "a", "t10k-images-idx3-ubyte").copy()
    pixels[3, 4, 5] ^= 1
    write_idx(tmp_path / "a" / "t10k-images-idx3-ubyte.gz", pixels)
    changed = FashionMNIST(size=32, root=str(tmp_path / "a")).fingerprint()
    assert changed.images != first.images and changed.annotations == relabelled.annotations


def test_other_sizes_and_limit(tmp_path: Path) -> None:
    make(tmp_path / "root")
    data = FashionMNIST(size=64, limit=10, root=str(tmp_path / "root"))
    data.prepare(tmp_path / "out")
    images = load_images(tmp_path / "out")
    assert images.pixels.shape == (22, 64, 64, 3) and len(images.indices("train")) == 10


def test_missing_everywhere_names_all_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist") as error:
        FashionMNIST(size=32, root=str(tmp_path / "root"), download=False).fingerprint()
    assert str(tmp_path / "root") in str(error.value) and str(tmp_path / "debian") in str(error.value)
    assert "torchvision" in str(error.value)
    with pytest.raises(ConfigError) as missing:
        FashionMNIST(size=32, root=str(tmp_path / "nowhere"))
    assert missing.value.key == "data.root"


def test_damaged_idx_is_named(tmp_path: Path) -> None:
    make(tmp_path, "")
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="expected 30 values"):
        FashionMNIST(size=32, root=str(tmp_path)).fingerprint()
    path.write_bytes(b"not an idx file")
    with pytest.raises(DataError, match="train-labels-idx1-ubyte"):
        FashionMNIST(size=32, root=str(tmp_path)).fingerprint()


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.slow
def test_debian_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    data = FashionMNIST(size=32, root=str(tmp_path / "empty"), limit=200, download=False)
    assert len(data.all_rows()) == 70000
    notes = FashionMNIST(size=32, root=str(tmp_path / "empty"), download=False).annotations()
    assert notes.labels is not None and np.bincount(notes.labels).tolist() == [7000] * 10
    data.prepare(tmp_path / "out")
    images = load_images(tmp_path / "out")
    assert [len(images.indices(s)) for s in ("train", "validation")] == [200, 64]
    assert 40 < images.pixels.mean() < 70
