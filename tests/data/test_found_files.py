"""Folders as people have them: links, accents, odd names, damaged files, captions without images; all of it counted."""

import io
import os
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablatent.conditioning.source import class_index
from ablatent.core.errors import DataError, MissingData
from ablatent.data import damage
from ablatent.data.counts import Counts
from ablatent.data.ffhq import FFHQ
from ablatent.data.image_folder import ImageFolder
from ablatent.data.imagenet import ImageNet
from ablatent.data.listing import in_order, printable
from ablatent.data.prepared import load_images
from ablatent.data.webdataset import WebDataset
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.work import Work

NFC, NFD = (unicodedata.normalize(form, "übung") for form in ("NFC", "NFD"))


def write(path: Path, level: int = 9, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), (level, level, level)).save(path, **options)


def folder(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(size=8, root=str(root), **{"cache": None, **options})


def test_linked_class_folders_are_entered_and_circles_are_not(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "in" / "cat" / f"{i}.png")
        write(tmp_path / "elsewhere" / f"{i}.PNG")
    (tmp_path / "in" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "cat" / "loop").symlink_to("..")
    data = folder(tmp_path / "in")
    assert [r.id for r in data.rows()] == [f"cat/{i}.png" for i in range(3)] + [f"dog/{i}.PNG" for i in range(3)]
    assert data.annotations().classes == ("cat", "dog") and data.counts().others == {"linked in a circle": 1}
    (tmp_path / "in" / "maps").symlink_to(tmp_path / "elsewhere")
    assert len(folder(tmp_path / "in", maps="maps", map_classes=2).rows()) == 6, "linked maps are no images"


def test_a_store_below_the_images_is_no_part_of_them(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.png")

    def build(work: Work) -> None:
        write(work.files / "grid.png")

    Store(tmp_path / "store").get_or_build(Key(f"samples-{'0' * 32}"), build, lambda work: {"inputs": {}})
    data = folder(tmp_path)
    assert [r.id for r in data.rows()] == ["0.png", "1.png", "2.png"]
    assert data.counts().others == {"a store": 1}


def test_all_damaged_images_are_named_at_once_or_left_out(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(20):
        write(root / f"{i:02d}.jpg", i)
    whole = (root / "00.jpg").read_bytes()
    for name, content in {"cut.jpg": whole[: len(whole) // 2], "text.png": b"text", "empty.png": b""}.items():
        (root / name).write_bytes(content)
    (root / "nowhere.png").symlink_to("there.png")
    os.mkfifo(root / "pipe.png")
    (root / "folder.png").mkdir()
    with Path(os.fsdecode(os.fsencode(root) + b"/b\xff.jpg")).open("wb") as f:
        f.write(whole)
    with pytest.raises(DataError) as error:
        folder(root).fingerprint()
    assert "expected 26 images that can be read; 6 cannot: b\\udcff.jpg (its name is not UTF-8), " in str(error.value)
    for name in ("cut.jpg (", "empty.png (it is empty)", "text.png (cannot identify image file)"):
        assert name in str(error.value)
    assert "nowhere.png (it is not there" in str(error.value) and "pipe.png (it is no regular file)" in str(error.value)
    data = folder(root, on_damaged="skip", validation_fraction=0.3)
    assert [r.id for r in data.rows()] == [f"{i:02d}.jpg" for i in range(20)]
    counts = data.counts()
    assert (counts.found, counts.train + counts.validation) == (26, 20)
    assert counts.left_out == {"with a name that is not UTF-8": 1, "damaged": 5}
    data.fingerprint()
    data.prepare(tmp_path / "out")
    assert len(load_images(tmp_path / "out")) == 20
    for i in range(40):
        (root / f"x{i}.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"x1\.png.* and 36 more"):
        folder(root).fingerprint()
    limited = folder(root, on_damaged="skip", validation_fraction=0.3, limit=8)
    assert limited.counts().train == 8, "images beyond the limit take the place of damaged ones"


def test_an_image_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "in", str(tmp_path / "cache")
    for i in range(4):
        write(root / f"{i}.png", i)
    (root / "bad.png").write_bytes(b"text")
    for path in root.iterdir():
        os.utime(path, (1e9, 1e9))
    looked: list[str] = []
    problem_of = damage.problem_of
    monkeypatch.setattr(damage, "problem_of", lambda p, e, name: (looked.append(name), problem_of(p, e, name))[1])
    for _ in range(2):
        folder(root, on_damaged="skip", cache=cache).fingerprint()
    assert sorted(looked) == ["0.png", "1.png", "2.png", "3.png", "bad.png"]
    damage._seen.clear()  # as in the next command, which tries again what no decoder could read
    folder(root, on_damaged="skip", cache=cache).fingerprint()
    assert looked[5:] == ["bad.png"]
    write(root / "new.png")
    (root / "new.png").replace(root / "2.png")
    os.utime(root / "2.png", (1e9, 1e9))
    folder(root, on_damaged="skip", cache=cache).fingerprint()
    assert looked[6:] == ["2.png"], "another file of the same size and time"


def test_odd_names_and_hidden_files(tmp_path: Path) -> None:
    names = ["a b.png", 'it\'s "x"=1.png', "new\nline.png", "😀.png", "[red]x[/red].PNG", "ü.Jpeg"]
    for name in names:
        write(tmp_path / "in" / name)
    for name in ("._x.png", ".hidden/y.png", "Thumbs.db", "raw.heic", "note"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    data = folder(tmp_path / "in")
    assert sorted(r.id for r in data.rows()) == sorted(names)
    data.prepare(tmp_path / "out")
    assert data.counts().others == {".db": 1, ".heic": 1, "without suffix": 1, "hidden": 2}
    assert printable("new\nline\udcff\x1b.png") == r"new\nline\udcff\x1b.png"


@pytest.mark.parametrize("suffix", ["gif", "tif", "tiff", "jfif", "avif", "ppm", "pgm"])
def test_formats(suffix: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((12, 12), level, np.uint8)) for level in (200, 30)]
    more = {"save_all": True, "append_images": frames[1:]} if suffix in ("gif", "tif") else {}
    for i in range(4):
        kind = {"jfif": "JPEG", "pgm": "PPM"}.get(suffix)
        (frames[0] if suffix == "pgm" else frames[0].convert("RGB")).save(tmp_path / f"{i}.{suffix}", kind, **more)
    Image.new("CMYK", (12, 12)).save(tmp_path / "cmyk.jpg")
    data = folder(tmp_path)
    data.fingerprint()
    data.prepare(tmp_path / "out")
    assert abs(int(load_images(tmp_path / "out").pixels[0, 4, 4, 0]) - 200) <= 2, "the first frame"


def test_accents_in_either_form(tmp_path: Path) -> None:
    for other in "abc":
        write(tmp_path / "in" / NFD / f"{other}{NFD}.png")
        write(tmp_path / "in" / "x" / f"{other}.png")
    ids = [r.id for r in folder(tmp_path / "in").rows()]
    lines = [f"{unicodedata.normalize('NFC', i)},the image {n}" for n, i in enumerate(ids)]
    (tmp_path / "in" / "captions.csv").write_text("file,caption\n" + "\n".join(lines) + "\n")
    data = folder(tmp_path / "in", captions="captions.csv")
    data.fingerprint()
    assert data.annotations().captions == [f"the image {n}" for n in range(6)]
    assert data.annotations().classes == ("x", NFC) and class_index(NFD, ("x", NFC), "class") == 1
    for i in ids:
        beside = (tmp_path / "in" / i).with_suffix(".txt")
        beside.with_name(unicodedata.normalize("NFC", beside.name)).write_text("text")
        path = tmp_path / "maps" / unicodedata.normalize("NFC", i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 12)).save(path)
    data = folder(tmp_path / "in", captions="txt", maps=str(tmp_path / "maps"), map_classes=2)
    data.fingerprint()
    assert data.annotations().captions == ["text"] * 6


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    for c in range(12):
        write(tmp_path / "in" / str(c) / "a.png", c)
    data = folder(tmp_path / "in")
    notes = data.annotations()
    assert notes.classes == tuple(str(c) for c in range(12)) == data.counts().classes and notes.labels is not None
    assert [notes.classes[k] for k in notes.labels] == [r.id.split("/")[0] for r in data.rows()]
    assert in_order(["10", "9", "a"]) == ("10", "9", "a") and in_order(["010", "9", "10"]) == ("9", "010", "10")
    for part in ("train", "val"):
        for c in (10, 9):
            write(tmp_path / "imagenet" / part / str(c) / "a.jpeg")
    assert ImageNet(size=8, root=str(tmp_path / "imagenet"), cache=None).annotations().classes == ("9", "10")
    write(tmp_path / "in" / "loose.png")
    assert folder(tmp_path / "in").counts().remark == "no classes, as 1 are in no subfolder: loose.png"


def captioned(root: Path, table: str, text: bytes, **options: Any) -> ImageFolder:
    for i in range(4):
        write(root / f"{i}.png", i)
    (root / table).write_bytes(text)
    return folder(root, captions=table, **options)


def test_captions_as_datasets_have_them(tmp_path: Path) -> None:
    lines = "".join(f'{i}.png,"the text, {i}"\r\n' for i in range(4))
    data = captioned(tmp_path / "a", "metadata.csv", f"\ufefffile_name,text\r\n{lines}".encode())
    data.fingerprint()
    assert data.annotations().captions == [f"the text, {i}" for i in range(4)]
    for part in ("train", "val"):
        rows = "".join(f'{{"file_name": "{i}.png", "text": "{part} {i}", "other": [1]}}\n' for i in range(4))
        (tmp_path / "b" / part).mkdir(parents=True)
        captioned(tmp_path / "b" / part, "metadata.jsonl", rows.encode())
    data = folder(tmp_path / "b", captions="metadata.jsonl")
    data.fingerprint()
    assert data.annotations().captions == [f"{part} {i}" for part in ("train", "val") for i in range(4)]
    for i in range(4):
        (tmp_path / "a" / f"{i}.caption").write_text(f" line {i}\n")
    assert folder(tmp_path / "a", captions="caption").annotations().captions == [f"line {i}" for i in range(4)]


def test_images_and_captions_without_each_other(tmp_path: Path) -> None:
    text = b"file,caption\n0.png,zero\n1.png,\n2.png,two\ngone.png,x\n3.png,three\nlost.png,y\n"
    with pytest.raises(DataError, match=r"2 have none: t\.csv, line 5 \(gone\.png\), t\.csv, line 7 \(lost\.png\)"):
        captioned(tmp_path, "t.csv", text).fingerprint()
    with pytest.raises(DataError, match=r"each of 4 images in t\.csv; 1 have none: 1\.png"):
        captioned(tmp_path, "t.csv", text.replace(b"gone.png,x\n", b"").replace(b"lost.png,y\n", b"")).fingerprint()
    data = captioned(tmp_path, "t.csv", text, on_missing="skip", validation_fraction=0.5)
    data.fingerprint()
    assert data.annotations().captions == ["zero", "two", "three"]
    assert data.counts().left_out == {"without a caption": 1}
    (tmp_path / "2.png").unlink()  # a damaged image, mended as messages say
    assert folder(tmp_path, captions="t.csv", on_missing="skip").annotations().captions == ["zero", "three"]
    with pytest.raises(DataError, match=r"2 have two: line 4 \(0\.png has one in line 2\), line 5"):
        captioned(tmp_path, "t.csv", b"file,caption\n0.png,a\n1.png,b\n0.png,c\n1.png,d\n").fingerprint()
    with pytest.raises(DataError, match=r"commas between them; got \['file;caption'\]"):
        captioned(tmp_path, "t.csv", b"file;caption\n0.png;a\n").fingerprint()
    with pytest.raises(DataError, match="commas between them; field larger"):
        captioned(tmp_path, "t.csv", b"file,caption\n0.png," + b"a" * 200_000).fingerprint()
    with pytest.raises(MissingData, match=r"Left out: 4 without a caption"):
        folder(tmp_path, captions="txt", on_missing="skip")


def test_images_without_maps_and_damaged_maps(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.png", i)
        (tmp_path / "maps").mkdir(exist_ok=True)
        Image.new("L", (20, 12)).save(tmp_path / "maps" / f"{i}.png")
    (tmp_path / "maps" / "1.png").unlink()
    (tmp_path / "maps" / "3.png").write_bytes(b"text")
    options = {"maps": "maps", "map_classes": 2, "validation_fraction": 0.4}
    with pytest.raises(DataError, match=r"1 cannot: 3\.png \(its map: cannot identify image file\)"):
        folder(tmp_path, **options, on_missing="skip").fingerprint()
    data = folder(tmp_path, **options, on_missing="skip", on_damaged="skip")
    assert data.counts().left_out == {"without a segmentation map": 1, "damaged": 1}
    data.fingerprint()


def test_images_outside_the_splits_are_counted(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/b.png", "val/c.png", "test/d.png", "e.png"):
        write(tmp_path / name)
    assert folder(tmp_path).counts() == Counts(5, 2, 1, {"in no folder or list of a split": 2})
    (tmp_path / "val" / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="expected validation images; all 2 are of the other split"):
        folder(tmp_path, on_damaged="skip").fingerprint()


def test_other_sets_of_files_follow_the_same_rules(tmp_path: Path) -> None:
    for number in (0, 1, 60_000, 60_001):
        write(tmp_path / "faces" / f"{number:05d}.png")
    (tmp_path / "faces" / "00002.png").write_bytes(b"text")
    options: dict[str, Any] = {"size": 8, "root": str(tmp_path / "faces"), "cache": None}
    with pytest.raises(DataError, match=r"1 cannot: 00002\.png"):
        FFHQ(**options).fingerprint()
    assert FFHQ(**options, on_damaged="skip").counts() == Counts(5, 2, 2, {"damaged": 1})


def test_damaged_images_of_shards(tmp_path: Path) -> None:
    good = io.BytesIO()
    Image.new("RGB", (9, 9)).save(good, "PNG")
    members = {f"{i}.png": good.getvalue() for i in range(6)} | {"bad.png": b"text", "b\udcff.png": good.getvalue()}
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match=r"2 cannot: train\.tar:b\\udcff .*train\.tar:bad \(cannot identify"):
        WebDataset(size=8, root=str(tmp_path), cache=None).fingerprint()
    data = WebDataset(size=8, root=str(tmp_path), cache=None, on_damaged="skip", validation_fraction=0.3)
    data.fingerprint()
    assert data.counts().left_out == {"with a name that is not UTF-8": 1, "damaged": 1}
