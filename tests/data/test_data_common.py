"""What all data sets share: limits, splits, files, pixels, and that none of it needs torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import TRAIN, VALIDATION, Row, limited, split_by_hash
from ablatent.data.digits import Digits
from ablatent.data.image_folder import ImageFolder
from ablatent.data.openmoji import OpenMoji
from ablatent.data.pixels import to_uint8, to_unit
from ablatent.data.prepared import load_images


def test_pixels_round_trip_all_grey_levels() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1).repeat(3, axis=3)
    unit = to_unit(pixels)
    assert unit.shape == (2, 3, 8, 16) and unit.dtype == np.float32
    assert unit.min() == -1 and unit.max() == 1
    assert np.array_equal(to_uint8(unit), pixels)
    assert to_uint8(np.array([[[[-3.0, 3.0, 0.0]]]])).ravel().tolist() == [0, 255, 128]
    with pytest.raises(DataError, match="finite"):
        to_uint8(np.full((1, 1, 1, 1), np.nan))


def test_limit_keeps_proportion_and_nests() -> None:
    rows = [Row(str(i), VALIDATION if i % 10 == 0 else TRAIN) for i in range(5000)]
    small, large = limited(rows, 1000), limited(rows, 2000)
    assert [sum(r.split == s for r in large) for s in (TRAIN, VALIDATION)] == [2000, 222]
    assert [sum(r.split == s for r in small) for s in (TRAIN, VALIDATION)] == [1000, 111]
    assert set(small) < set(large)
    assert sum(r.split == VALIDATION for r in limited(rows, 10)) == 64
    assert limited(rows, 4500) == rows
    assert [int(r.id) for r in small] == sorted(int(r.id) for r in small)
    assert np.mean([int(r.id) for r in small]) == pytest.approx(2500, abs=250), "spread over the whole set"


def test_split_keeps_groups_whole_and_fixed() -> None:
    groups = [f"g{i // 3}" for i in range(900)]
    splits = split_by_hash(groups, 0.2)
    assert all(len(set(splits[i : i + 3])) == 1 for i in range(0, 900, 3))
    assert np.mean(splits) == pytest.approx(0.2, abs=0.06)
    more = split_by_hash([*groups, *(f"new{i}" for i in range(100))], 0.2)
    assert more[:900] == splits
    assert sorted(set(split_by_hash(["a", "b"], 0.001))) == [0, 1]
    assert sorted(set(split_by_hash(["a", "b"], 0.999))) == [0, 1]


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("data.size", lambda: OpenMoji(size=0)),
        ("data.size", lambda: Digits(size=20)),
        ("data.limit", lambda: OpenMoji(size=32, limit=0)),
        ("data.limit", lambda: OpenMoji(size=32, limit=True)),
        ("data.validation_fraction", lambda: OpenMoji(size=32, validation_fraction=1.0)),
        ("data.root", lambda: ImageFolder(size=32)),
    ],
)
def test_bad_arguments_name_their_key(key: str, make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key


def test_digits_round_trip(tmp_path: Path) -> None:
    data = Digits(size=16)
    data.prepare(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pixels.npy", "rows.json"]
    images, notes = load_images(tmp_path), data.annotations()
    assert images.pixels.shape == (1797, 16, 16, 3) and isinstance(images.pixels, np.memmap)
    train, validation = images.indices("train"), images.indices("validation")
    assert len(train) + len(validation) == 1797 and 120 < len(validation) < 240
    assert validation.dtype == np.int64
    assert notes.labels is not None and notes.captions is not None
    assert np.bincount(notes.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert notes.captions[0] == "zero" and len(notes.classes) == 10
    assert images.pixels.min() == 0 and images.pixels.max() == 255
    blocks = images.pixels.reshape(1797, 8, 2, 8, 2, 3)
    assert (blocks == blocks[:, :, :1, :, :1, :1]).all(), "nearest, grey"
    with pytest.raises(DataError, match="validation"):
        images.indices("test")


def test_fingerprint_follows_what_decides_the_images() -> None:
    first = Digits(size=16).fingerprint()
    assert first == Digits(size=16).fingerprint()
    assert first.images != Digits(size=8).fingerprint().images
    assert first.annotations == Digits(size=8).fingerprint().annotations
    assert first.images != Digits(size=16, limit=100).fingerprint().images
    assert first.images != Digits(size=16, validation_fraction=0.2).fingerprint().images
    assert first.images == Digits(size=16, limit=1797).fingerprint().images, "a limit that cuts nothing changes nothing"


def test_damaged_preparation_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pixels\.npy"):
        load_images(tmp_path)
    Digits(size=8, limit=10).prepare(tmp_path)
    rows = json.loads((tmp_path / "rows.json").read_text())
    rows["ids"].pop()
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="expected 73 RGB"):
        load_images(tmp_path)


@pytest.mark.slow
def test_torch_stays_out(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from PIL import Image
for i in range(4):
    Image.new("RGB", (9, 9), (i, 0, 0)).save(f"{tmp_path}/{{i}}.png")
from ablatent.data.digits import Digits
from ablatent.data.fashion_mnist import DEBIAN, FashionMNIST
from ablatent.data.image_folder import ImageFolder
from ablatent.data.openmoji import OpenMoji
import ablatent.data.pixels
names = ("celeba_hq", "ffhq", "lsun", "imagenet", "coco_captions", "openimages_boxes", "webdataset", "openmoji_scenes")
for name in names:
    __import__("ablatent.data." + name)
sets = [Digits(8), OpenMoji(32, limit=20), ImageFolder(8, root="{tmp_path}", cache=None), FashionMNIST(32)]
for data in sets:
    if data.name != "fashion_mnist" or DEBIAN.is_dir():
        data.fingerprint()
Digits(8, limit=4).prepare(Path("{tmp_path}/out"))
heavy = {{"torch", "torchvision", "pytorch_lightning", "hydra", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
