"""Loaders of the data sets of the literature, each on small data of the same format that is made here."""

import csv
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations, ImageData
from ablatent.data.boxes import in_middle_square
from ablatent.data.celeba_hq import CelebAHQ
from ablatent.data.coco_captions import CocoCaptions
from ablatent.data.ffhq import FFHQ
from ablatent.data.imagenet import DEVKIT, ImageNet
from ablatent.data.lsun import LSUN
from ablatent.data.openimages_boxes import OpenImagesBoxes
from ablatent.data.prepared import load_images
from ablatent.data.webdataset import WebDataset

COMMON: dict[str, Any] = {"size": 8, "cache": None}


def encoded(level: int, size: tuple[int, int] = (20, 12), kind: str = "PNG") -> bytes:
    """An image of one grey level."""
    out = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return out.getvalue()


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def prepared(data: ImageData, folder: Path) -> tuple[dict[str, int], Annotations]:
    """(image → its level, annotations) after `prepare`."""
    data.prepare(folder)
    images = load_images(folder)
    assert images.pixels.shape[1:] == (8, 8, 3)
    return dict(zip(images.ids, images.pixels[:, 4, 4, 0].tolist(), strict=True)), data.annotations()


def splits(data: ImageData) -> tuple[list[str], list[str]]:
    rows = data.rows()
    return [r.id for r in rows if r.split == 0], [r.id for r in rows if r.split == 1]


def test_celeba_hq_images_arrays_and_lists(tmp_path: Path) -> None:
    for i in range(6):
        put(tmp_path / "in" / f"{i}.png", encoded(10 * i))
    levels, notes = prepared(CelebAHQ(root=str(tmp_path / "in"), **COMMON), tmp_path / "a")
    assert levels == {f"{i}.png": 10 * i for i in range(6)} and notes == Annotations()
    np.save(tmp_path / "in" / "imgHQ00006.npy", np.full((1, 3, 1024, 1024), 60, np.uint8))
    put(tmp_path / "in" / "val.txt", "2.png\nimgHQ00006.npy\n")
    data = CelebAHQ(root=str(tmp_path / "in"), val_list="val.txt", **COMMON)
    assert prepared(data, tmp_path / "b")[0]["imgHQ00006.npy"] == 60
    assert splits(data) == (["0.png", "1.png", "3.png", "4.png", "5.png"], ["2.png", "imgHQ00006.npy"])
    put(tmp_path / "in" / "train.txt", "0.png\n1.png\n")
    with_both = CelebAHQ(root=str(tmp_path / "in"), train_list="train.txt", val_list="val.txt", **COMMON)
    assert splits(with_both) == (["0.png", "1.png"], ["2.png", "imgHQ00006.npy"])
    put(tmp_path / "in" / "train.txt", "2.png\n")
    with pytest.raises(DataError, match=r"2\.png is in both"):
        with_both.rows()
    put(tmp_path / "in" / "train.txt", "9.png\n")
    with pytest.raises(DataError, match=r"1 have none: train\.txt, line 1 \(9\.png\)"):
        with_both.rows()
    put(tmp_path / "in" / "train.txt", "9.png\n0.png\n")
    kept = CelebAHQ(root=str(tmp_path / "in"), train_list="train.txt", val_list="val.txt", on_missing="skip", **COMMON)
    assert splits(kept)[0] == ["0.png"] and kept.counts().left_out == {"in no folder or list of a split": 4}
    np.save(tmp_path / "in" / "imgHQ00006.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"imgHQ00006\.npy: cannot be read.*float64"):
        data.prepare(tmp_path / "c")
    for options, key in (({"val_list": "vall.txt"}, "val_list"), ({"train_list": "train.txt"}, "val_list")):
        with pytest.raises(ConfigError) as error:
            CelebAHQ(root=str(tmp_path / "in"), **options, **COMMON)
        assert error.value.key == f"data.{key}"


def test_ffhq_is_split_by_number(tmp_path: Path) -> None:
    for number in (0, 59_999, 60_000, 69_999):
        put(tmp_path / "in" / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png", encoded(number // 1000))
    data = FFHQ(root=str(tmp_path / "in"), **COMMON)
    assert splits(data) == (["00000/00000.png", "59000/59999.png"], ["60000/60000.png", "69000/69999.png"])
    assert prepared(data, tmp_path / "a")[0]["69000/69999.png"] == 69
    with pytest.raises(ConfigError, match="of one split") as error:
        data.default_split(["00001.png", "00002.png"])
    assert error.value.key == "data.val_list"
    with pytest.raises(ConfigError, match=r"face\.png"):
        data.default_split(["face.png", "60000.png"])


def test_lsun_databases(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    keys = {"train": [f"{i:040x}" for i in (3, 1, 2)], "val": [f"{9:040x}"]}
    for part, names in keys.items():
        environment = lmdb.open(str(tmp_path / f"church_outdoor_{part}_lmdb"), map_size=2**20)
        with environment.begin(write=True) as transaction:
            for name in names:
                transaction.put(name.encode(), encoded(int(name, 16) * 20, kind="WEBP"))
        environment.close()
    data = LSUN(root=str(tmp_path), category="church_outdoor", **COMMON)
    levels, _ = prepared(data, tmp_path / "out")
    assert levels == {f"train/{i:040x}": 20 * i for i in (1, 2, 3)} | {f"val/{9:040x}": 180}
    assert [len(s) for s in splits(data)] == [3, 1]
    before = data.fingerprint()
    environment = lmdb.open(str(tmp_path / "church_outdoor_val_lmdb"), map_size=2**20)
    with environment.begin(write=True) as transaction:
        transaction.put(keys["val"][0].encode(), b"no image")
    environment.close()
    with pytest.raises(DataError, match=rf"1 cannot: val/{keys['val'][0]} \(cannot identify image file\)"):
        data.fingerprint()
    assert data.images_digest(data.rows()) != before.images
    with pytest.raises(DataError, match=f"church_outdoor_val_lmdb/data.mdb, key {keys['val'][0]}: cannot be read"):
        data.prepare(tmp_path / "out")
    with pytest.raises(DataError, match="expected validation images"):
        LSUN(root=str(tmp_path), category="church_outdoor", on_damaged="skip", **COMMON).fingerprint()
    (tmp_path / "bedroom_train_lmdb").mkdir()
    with pytest.raises(ConfigError, match="bedroom_val_lmdb beside"):
        LSUN(root=str(tmp_path), **COMMON)


def test_lsun_exported_and_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        put(tmp_path / "bedrooms" / f"{i}.webp", encoded(i, kind="WEBP"))
    put(tmp_path / "bedrooms_val.txt", "3.webp\n")
    data = LSUN(root=str(tmp_path), val_list="bedrooms_val.txt", **COMMON)
    assert splits(data) == ([f"bedrooms/{i}.webp" for i in range(3)], ["bedrooms/3.webp"])
    for part in ("train", "val"):
        put(tmp_path / f"bedroom_{part}_lmdb" / "data.mdb", "")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ConfigError, match="pip install lmdb"):
        LSUN(root=str(tmp_path), **COMMON).rows()


WNIDS = ("n01440764", "n01443537", "n02084071")


def imagenet(root: Path, flat: bool) -> None:
    for k, wnid in enumerate(WNIDS[:2]):
        for i in range(2):
            put(root / "train" / wnid / f"{wnid}_{i}.JPEG", encoded(40 * k + 10 * i, kind="JPEG"))
    for i, k in ((1, 1), (2, 0), (3, 1)):
        name = f"ILSVRC2012_val_{i:08d}.JPEG"
        put(root / "val" / ("" if flat else WNIDS[k]) / name, encoded(100 + i, kind="JPEG"))


def meta(path: Path) -> None:
    """The devkit's table: its numbers are not in the order of the WNIDs, and a class of classes is among them."""
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    table = np.array(
        [(2, WNIDS[0], "tench, Tinca tinca", 0), (1, WNIDS[1], "goldfish", 0), (3, WNIDS[2], "dog", 5)], dtype=fields
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"synsets": table.reshape(3, 1)})


def test_imagenet_with_the_devkit(tmp_path: Path) -> None:
    imagenet(tmp_path, flat=True)
    data = ImageNet(root=str(tmp_path), **COMMON)
    with pytest.raises(ConfigError, match=r"labels of val/.*ground_truth\.txt or LOC_val_solution\.csv.*It has train"):
        data.annotations()
    meta(tmp_path / DEVKIT / "meta.mat")
    put(tmp_path / DEVKIT / "ILSVRC2012_validation_ground_truth.txt", "1\n2\n1\n")
    levels, notes = prepared(data, tmp_path / "out")
    assert notes.classes == ("tench", "goldfish") and notes.labels is not None
    assert notes.labels.tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert levels["val/ILSVRC2012_val_00000002.JPEG"] == 102
    assert [len(s) for s in splits(data)] == [4, 3]
    before = data.fingerprint()
    put(tmp_path / DEVKIT / "ILSVRC2012_validation_ground_truth.txt", "1\n2\n2\n2\n")
    after = data.fingerprint()
    assert after.images == before.images and after.annotations != before.annotations
    put(tmp_path / DEVKIT / "ILSVRC2012_validation_ground_truth.txt", "1\n3\n")
    with pytest.raises(DataError, match="line 2"):
        data.annotations()


def test_imagenet_of_kaggle_and_with_folders(tmp_path: Path) -> None:
    imagenet(tmp_path / "a", flat=True)
    lines = [
        "ImageId,PredictionString",
        *(f"ILSVRC2012_val_{i:08d},{WNIDS[k]} 1 2 3 4 " for i, k in ((1, 1), (2, 0), (3, 1))),
    ]
    put(tmp_path / "a" / "LOC_val_solution.csv", "\n".join(lines))
    put(tmp_path / "a" / "LOC_synset_mapping.txt", f"{WNIDS[0]} tench, Tinca tinca\n{WNIDS[1]} goldfish\n")
    notes = ImageNet(root=str(tmp_path / "a"), **COMMON).annotations()
    imagenet(tmp_path / "b", flat=False)
    folders = ImageNet(root=str(tmp_path / "b"), **COMMON).annotations()
    assert notes.labels is not None and folders.labels is not None
    assert notes.labels.tolist() == [0, 0, 1, 1, 1, 0, 1] and notes.classes == ("tench", "goldfish")
    assert folders.labels.tolist() == [0, 0, 1, 1, 0, 1, 1] and folders.classes == WNIDS[:2]


def test_coco_takes_the_oldest_caption(tmp_path: Path) -> None:
    for part, images in (("train", {9: "b.jpg", 4: "a.jpg", 5: "silent.jpg"}), ("val", {7: "c.jpg"})):
        notes = [{"id": 20 + i, "image_id": i, "caption": f"late {i}"} for i in images if i != 5]
        notes += [{"id": 10 + i, "image_id": i, "caption": f" an image \n{i}"} for i in images if i != 5]
        whole = {"images": [{"id": i, "file_name": n} for i, n in images.items()], "annotations": notes}
        put(tmp_path / "annotations" / f"captions_{part}2017.json", json.dumps(whole))
        for i, name in images.items():
            put(tmp_path / f"{part}2017" / name, encoded(10 * i, kind="JPEG"))
    data = CocoCaptions(root=str(tmp_path), **COMMON)
    levels, notes = prepared(data, tmp_path / "out")
    assert levels == {"train2017/a.jpg": 40, "train2017/b.jpg": 90, "val2017/c.jpg": 70}
    assert notes.captions == ["an image 4", "an image 9", "an image 7"] and notes.labels is None
    (tmp_path / "val2017" / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"1 have none: val2017/c\.jpg"):
        data.fingerprint()
    (tmp_path / "val2017" / "d.jpg").write_bytes(encoded(1, kind="JPEG"))
    counts = CocoCaptions(root=str(tmp_path), on_missing="skip", **COMMON).counts()
    assert (counts.train, counts.validation, counts.left_out) == (2, 0, {"without a caption": 2})
    put(tmp_path / "annotations" / "captions_val2017.json", '{"images": []}')
    with pytest.raises(DataError, match=r"captions_val2017\.json: expected COCO"):
        data.rows()
    with pytest.raises(ConfigError, match="train2014"):
        CocoCaptions(root=str(tmp_path), year=2014, **COMMON)


HEAD = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded"]


def openimages(root: Path) -> None:
    boxes = {
        "train": [("aa", "/m/cat", 0.25, 0.5, 0, 1), ("aa", "/m/dog", 0, 1, 0.5, 1), ("bb", "/m/cat", 0, 1, 0, 1)],
        "validation": [
            ("cc", "/m/dog", 0, 0.1, 0, 1),
            ("cc", "/m/cat", 0.5, 0.75, 0.25, 0.5),
            ("gone", "/m/cat", 0, 1, 0, 1),
            ("gone", "/m/dog", 0, 1, 0, 1),
        ],
    }
    for part, lines in boxes.items():
        for image in {line[0] for line in lines} - {"gone"}:
            put(root / part / f"{image}.jpg", encoded(50, (20, 10), "JPEG"))
        with (root / f"{part}-annotations-bbox.csv").open("w", newline="") as f:
            csv.writer(f).writerows([HEAD, *([i, "xclick", c, 1, *corners, 0] for i, c, *corners in lines)])
    put(root / "class-descriptions-boxable.csv", "/m/dog,Dog\n/m/cat,Cat\n")


def test_open_images_boxes_are_those_of_the_middle_square(tmp_path: Path) -> None:
    openimages(tmp_path)
    data = OpenImagesBoxes(root=str(tmp_path), **COMMON)
    levels, notes = prepared(data, tmp_path / "out")
    assert set(levels) == {"train/aa.jpg", "validation/cc.jpg"}, "bb has one box, gone was not downloaded"
    assert notes.classes == ("Dog", "Cat")
    # 20 x 10 px: the square is x from 5 to 15, so x = 0.25 of the image is 0, 0.5 is 0.5
    assert notes.boxes == [[(1, 0.0, 0.0, 0.5, 1.0), (0, 0.0, 0.5, 1.0, 1.0)], [(1, 0.5, 0.25, 1.0, 0.5)]]
    assert splits(OpenImagesBoxes(root=str(tmp_path), min_boxes=1, max_boxes=1, **COMMON)) == (["train/bb.jpg"], [])
    before = data.fingerprint()
    put(tmp_path / "class-descriptions-boxable.csv", "LabelName,DisplayName\n/m/dog,Hound\n/m/cat,Cat\n")
    after = data.fingerprint()
    assert after.images == before.images and after.annotations != before.annotations
    put(tmp_path / "class-descriptions-boxable.csv", "/m/dog,Dog\n")
    with pytest.raises(DataError, match="class /m/cat, which image aa has"):
        data.annotations()
    with pytest.raises(ConfigError) as error:
        OpenImagesBoxes(root=str(tmp_path), min_boxes=9, max_boxes=3, **COMMON)
    assert error.value.key == "data.min_boxes"


def test_boxes_of_the_middle_square() -> None:
    assert in_middle_square([(3, 0.0, 0.0, 1.0, 1.0)], 30, 10) == [(3, 0.0, 0.0, 1.0, 1.0)]
    assert in_middle_square([(0, 0.0, 0.2, 0.3, 0.8)], 30, 10) == [], "left of the square"
    assert in_middle_square([(0, 0.2, 0.4, 0.2, 0.8)], 10, 10) == [], "no area"
    ((_, *corners),) = in_middle_square([(0, 0.5, 0.25, 1.0, 0.5)], 10, 20)
    assert corners == [0.5, 0.0, 1.0, 0.5]


def test_boxes_enter_the_digest_only_where_they_are() -> None:
    labels = np.array([0, 1], dtype=np.int64)
    assert Annotations(labels, ("a", "b"), ["x", "y"]).digest() == (
        "7389ec6592fda58a9d6b372c2cb5deccf6137d4d62690501ba1118e0d7d6a828"
    ), "as it was before boxes existed"
    with_boxes = Annotations(labels, ("a", "b"), ["x", "y"], [[(0, 0.0, 0.0, 1.0, 1.0)], []])
    assert with_boxes.digest() != Annotations(labels, ("a", "b"), ["x", "y"]).digest()
    assert with_boxes.digest() != Annotations(labels, ("a", "b"), ["x", "y"], [[], []]).digest()


def shard(path: Path, members: dict[str, bytes | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_webdataset_shards(tmp_path: Path) -> None:
    first = {"000.jpg": encoded(30, kind="JPEG"), "000.txt": "one\nred", "000.cls": "1", "notes.txt": "no image"}
    second = {"b/001.seg.txt": "x", "b/001.png": encoded(60), "b/001.json": '{"caption": "two", "label": 0}'}
    shard(tmp_path / "train-0000.tar", first)
    shard(tmp_path / "train-0001.tar", second)
    shard(tmp_path / "val-0000.tar", {"002.png": encoded(90), "002.txt": "three", "002.cls": "1\n"})
    data = WebDataset(root=str(tmp_path), **COMMON)
    levels, notes = prepared(data, tmp_path / "out")
    assert levels == {"train-0000.tar:000": 30, "train-0001.tar:b/001": 60, "val-0000.tar:002": 90}
    assert [len(s) for s in splits(data)] == [2, 1]
    assert notes.captions == ["one red", "two", "three"] and notes.classes == ("0", "1")
    assert notes.labels is not None and notes.labels.tolist() == [1, 0, 1]
    put(tmp_path / "classes.txt", "cat\ndog\n")
    assert data.annotations().classes == ("cat", "dog")
    before = data.fingerprint()
    shard(tmp_path / "train-0000.tar", first | {"000.txt": "another caption"})
    after = data.fingerprint()
    assert after.images == before.images and after.annotations != before.annotations
    shard(tmp_path / "train-0000.tar", first | {"000.jpg": encoded(31, kind="JPEG")})
    assert data.fingerprint().images != before.images
    shard(tmp_path / "train-0000.tar", first | {"000.cls": "dog"})
    with pytest.raises(DataError, match=r"train-0000\.tar:000: expected a caption or a class number"):
        data.annotations()


def test_webdataset_without_validation_shards_or_with_wrong_ones(tmp_path: Path) -> None:
    shard(tmp_path / "train.tar", {f"{i}.png": encoded(i) for i in range(5)})
    data = WebDataset(root=str(tmp_path), **COMMON)
    assert [len(s) for s in splits(data)] == [4, 1]
    assert data.annotations() == Annotations()
    put(tmp_path / "train.tar", "no tar file, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(DataError, match=r"train\.tar: expected a tar file"):
        data.rows()
    with pytest.raises(ConfigError) as error:
        WebDataset(root=str(tmp_path), train="shard-*.tar", **COMMON)
    assert error.value.key == "data.train" and "train.tar" in str(error.value)


ALL = (CelebAHQ, FFHQ, LSUN, ImageNet, CocoCaptions, OpenImagesBoxes, WebDataset)


@pytest.mark.parametrize("kind", ALL)
def test_a_missing_root_is_explained(kind: type[Any], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="Did you mean 'photos'") as error:
        kind(root=str(tmp_path / "photo"), **COMMON)
    assert error.value.key == "data.root"
    with pytest.raises(ConfigError) as empty:
        kind(root=str(tmp_path / "photos"), **COMMON).rows()
    assert empty.value.key in ("data.root", "data.train")
