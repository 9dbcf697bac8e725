"""Image folders: classes, captions, splits, transparency, crops, and messages for what is wrong."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.data import hashing
from ablatent.data.image_folder import ImageFolder
from ablatent.data.prepared import load_images


def write_image(path: Path, colour: tuple[int, ...] = (200, 30, 30), size: tuple[int, int] = (20, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)


def folder(root: Path, **options) -> ImageFolder:  # type: ignore[no-untyped-def]
    return ImageFolder(size=8, root=str(root), **{"cache": None, **options})


def test_class_subfolders(tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / "in" / "cat" / f"{i}.png", (10 * i, 0, 0))
        write_image(tmp_path / "in" / "dog" / "deep" / f"{i}.jpg", (0, 0, 250))
    (tmp_path / "in" / "notes.md").write_text("no image")
    write_image(tmp_path / "in" / "cat" / "._0.png")
    data = folder(tmp_path / "in")
    data.prepare(tmp_path / "out")
    images, notes = load_images(tmp_path / "out"), data.annotations()
    assert images.ids == [f"cat/{i}.png" for i in range(6)] + [f"dog/deep/{i}.jpg" for i in range(6)]
    assert notes.classes == ("cat", "dog") and notes.labels is not None
    assert notes.labels.tolist() == [0] * 6 + [1] * 6 and notes.captions is None
    assert [int(images.pixels[i, 4, 4, 0]) for i in range(6)] == [0, 10, 20, 30, 40, 50]
    assert len(images.indices("validation")) >= 1 and len(images.indices("train")) >= 1
    assert folder(tmp_path / "in", classes="none").annotations().labels is None
    assert folder(tmp_path / "in", classes="none").fingerprint().images == data.fingerprint().images
    write_image(tmp_path / "in" / "loose.png")
    assert folder(tmp_path / "in").annotations().labels is None
    with pytest.raises(ConfigError) as error:
        folder(tmp_path / "in", classes="folder").annotations()
    assert error.value.key == "data.classes" and "loose.png" in str(error.value)


def test_split_subfolders_decide(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / "train" / "a" / f"{i}.png")
        write_image(tmp_path / "train" / "b" / f"{i}.png")
    write_image(tmp_path / "val" / "a" / "9.png")
    write_image(tmp_path / "elsewhere" / "x.png")
    data = folder(tmp_path)
    assert [(r.id, r.split) for r in data.rows() if r.split] == [("val/a/9.png", 1)]
    assert len(data.rows()) == 7
    notes = data.annotations()
    assert notes.classes == ("a", "b") and notes.labels is not None and notes.labels.tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_captions_change_only_the_annotations(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    lines = [{"file": n, "caption": f"image {n[0]}"} for n in ("c.png", "a.png", "b.png")]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(x) for x in lines))
    data = folder(tmp_path, captions="captions.jsonl")
    assert data.annotations().captions == ["image a", "image b", "image c"]
    before = data.fingerprint()
    assert before == data.fingerprint()
    (tmp_path / "captions.csv").write_text('file,caption\na.png,"one, red"\nb.png,two\nc.png,three\n')
    other = folder(tmp_path, captions="captions.csv")
    assert other.annotations().captions == ["one, red", "two", "three"]
    after = other.fingerprint()
    assert after.images == before.images and after.annotations != before.annotations
    with pytest.raises(DataError, match=r"a\.png"):
        folder(tmp_path, captions="txt").annotations()
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f" text {name}\n")
    assert folder(tmp_path, captions="txt").annotations().captions == ["text a", "text b", "text c"]


def test_bad_captions_are_explained(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name)
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "caption": "x"}\n')
    with pytest.raises(DataError, match=r"1 have none: b\.png"):
        folder(tmp_path, captions="captions.jsonl").annotations()
    with pytest.raises(ConfigError, match=r"Did you mean 'captions\.jsonl'"):
        folder(tmp_path, captions="caption.jsonl")
    (tmp_path / "captions.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match="line 1"):
        folder(tmp_path, captions="captions.jsonl").annotations()
    lines = [json.dumps({"file": f, "caption": "x"}) for f in ("a.png", "bb.png", "b.png", "a.png")]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines[:3]))
    with pytest.raises(DataError, match=r"captions\.jsonl, line 2 \(bb\.png\)\. Did you mean 'b\.png'"):
        folder(tmp_path, captions="captions.jsonl").fingerprint()
    (tmp_path / "captions.jsonl").write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(DataError, match=r"line 3 \(a\.png has one in line 1\)"):
        folder(tmp_path, captions="captions.jsonl").annotations()
    (tmp_path / "names.csv").write_text("name,caption\na.png,x\n")
    with pytest.raises(DataError, match="file or file_name, and caption or text"):
        folder(tmp_path, captions="names.csv").annotations()


def test_pixels_change_only_the_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    before = folder(tmp_path).fingerprint()
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        image.putpixel((3, 3), (201, 30, 30))
        image.save(tmp_path / "a.png")
    after = folder(tmp_path).fingerprint()
    assert after.images != before.images and after.annotations == before.annotations
    assert folder(tmp_path, resize="box").fingerprint().images != after.images


def test_cache_remembers_and_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "in", str(tmp_path / "cache")
    write_image(root / "a.png")
    write_image(root / "b.png", (1, 2, 3))
    plain = folder(root).fingerprint()
    assert folder(root, cache=cache).fingerprint() == plain
    assert not (tmp_path / "cache").exists(), "files that changed this moment are not trusted yet"
    for name in ("a.png", "b.png"):
        os.utime(root / name, (time.time() - 60,) * 2)
    assert folder(root, cache=cache).fingerprint() == plain
    read: list[str] = []
    digest = hashing._digest
    monkeypatch.setattr(hashing, "_digest", lambda path: (read.append(path.name), digest(path))[1])
    assert folder(root, cache=cache).fingerprint() == plain and read == []
    write_image(root / "b.png", (3, 2, 1))
    assert folder(root, cache=cache).fingerprint().images != plain.images and read == ["b.png"]


def test_transparency_becomes_white_and_the_crop_is_central(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", (0, 0, 0, 0))
    image = Image.new("RGB", (48, 16), (255, 0, 0))
    image.paste((0, 0, 255), (16, 0, 32, 16))
    image.save(tmp_path / "in" / "b.png")
    Image.fromarray(np.full((9, 9), 0x80FF, np.uint16)).save(tmp_path / "in" / "c.png")
    data = folder(tmp_path / "in")
    transparent, wide, deep = data.images(data.rows())
    assert (transparent == 255).all()
    by_hand = image.resize((24, 8), Image.Resampling.LANCZOS).crop((8, 0, 16, 8))
    assert np.array_equal(wide, np.asarray(by_hand)) and (wide[:, 2:6] == (0, 0, 255)).mean() > 0.6
    assert (deep == 0x80).all()


def test_resize_is_antialiased(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(board).save(tmp_path / name)
    for way in ("lanczos", "bicubic", "bilinear", "box"):
        data = folder(tmp_path, resize=way)
        assert np.abs(next(iter(data.images(data.rows()))).astype(int) - 128).max() < 12


def test_broken_image_is_named_before_training(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "in" / "b.png")
    data = folder(tmp_path / "in")
    whole = (tmp_path / "in" / "b.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"text", b""):
        (tmp_path / "in" / "b.png").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.png"):
            data.prepare(tmp_path / "out")


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match=r"Did you mean 'photos'") as error:
        folder(tmp_path / "photo" / "2024")
    assert error.value.key == "data.root"
    with pytest.raises(ConfigError, match=r"at least two images \(png") as empty:
        folder(tmp_path / "photos")
    assert empty.value.key == "data.root"
    for i in range(2):
        write_image(tmp_path / "photos" / f"{i}.bmp")
    assert len(folder(tmp_path / "photos").rows()) == 2
    with pytest.raises(ConfigError, match="Did you mean 'lanczos'"):
        folder(tmp_path / "photos", resize="lanczoz")


def test_maps_beside_images(tmp_path: Path) -> None:
    numbers = np.zeros((12, 20), np.uint8)
    numbers[:, 10:], numbers[6:, 4:8] = 2, 255  # the middle square is columns 4 to 16
    for name in ("a.jpg", "deep/b.png"):
        write_image(tmp_path / name)
        path = (tmp_path / "maps" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers).save(path)
    write_image(tmp_path / "c.png", size=(12, 12))
    with pytest.raises(DataError, match=r"expected a map for each of 3 images.*1 have none: c\.png"):
        folder(tmp_path, maps="maps", map_classes=3).fingerprint()
    coloured = Image.fromarray(np.full((12, 12), 1, np.uint8), mode="P")
    coloured.putpalette([9, 9, 9, 200, 0, 0])
    coloured.save(tmp_path / "maps/c.png")
    (tmp_path / "names.txt").write_text("sky\nsea\nland\n")
    data = folder(tmp_path, maps="maps", map_classes="names.txt")
    assert [r.id for r in data.rows()] == ["a.jpg", "c.png", "deep/b.png"], "maps are no images"
    notes = data.annotations()
    assert notes.segments == ("sky", "sea", "land", "unlabelled")
    expected = np.zeros((8, 8), np.uint8)
    expected[:, 4:], expected[4:, :3] = 2, 3
    assert np.array_equal(notes.segmentation, np.stack([expected, np.full((8, 8), 1), expected]))
    by_place = folder(tmp_path, maps=str(tmp_path / "deep/../maps"), map_classes="names.txt")
    assert by_place.rows() == data.rows()
    numbered = folder(tmp_path, maps="maps", map_classes=3)
    assert numbered.annotations().segments == ("0", "1", "2", "unlabelled")
    plain = numbered.fingerprint()
    assert plain.images == data.fingerprint().images and plain.annotations != data.fingerprint().annotations
    numbers[0, 0] = 1
    Image.fromarray(numbers).save(tmp_path / "maps/a.png")
    assert folder(tmp_path, maps="maps", map_classes=3).fingerprint().annotations != plain.annotations
    (tmp_path / "names.txt").write_text("sky\nsea\n")
    wrong = [
        (lambda: folder(tmp_path, maps="mapps"), ConfigError, "Did you mean 'maps'"),
        (lambda: folder(tmp_path, maps="."), ConfigError, "another folder"),
        (lambda: folder(tmp_path, maps="maps"), ConfigError, "the number of classes, up to 254"),
        (lambda: folder(tmp_path, map_classes="names.txt"), ConfigError, "null without data.maps"),
        (lambda: folder(tmp_path, maps="maps", map_classes="no.txt"), ConfigError, "a name a line"),
        (data.fingerprint, DataError, "numbers below 2"),
    ]
    Image.new("L", (12, 20)).save(tmp_path / "deep/../maps/deep/b.png")
    wrong += [(numbered.fingerprint, DataError, "size of its image, 20x12; got 12x20")]
    for make, kind, message in wrong:
        with pytest.raises(kind, match=message):
            make()
    (tmp_path / "latin.csv").write_bytes("file,caption\na.jpg,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match="expected text in UTF-8"):
        folder(tmp_path, captions="latin.csv").fingerprint()
    write_image(tmp_path / "maps/deep/b.png")
    with pytest.raises(DataError, match="write the numbers, not colours"):
        numbered.fingerprint()
