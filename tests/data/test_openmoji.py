"""OpenMoji: counts, names, splits without leaks, images."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from ablatent.data.openmoji import SKIN_TONE, OpenMoji, base_emoji, english_names
from ablatent.data.prepared import load_images

TONE = re.compile(r" (medium-light|medium-dark|light|medium|dark) skin tone")


def test_counts_are_those_of_version_17() -> None:
    rows = OpenMoji(size=32).rows()
    assert len(rows) == pytest.approx(3953, abs=60)
    assert sum(SKIN_TONE in r.flags for r in rows) == pytest.approx(2035, abs=40)
    plain = OpenMoji(size=32, skin_tones=False).rows()
    assert len(plain) == len(rows) - sum(SKIN_TONE in r.flags for r in rows)
    for kept in (rows, plain):
        assert 0.07 < np.mean([r.split for r in kept]) < 0.13


def test_captions_are_clean_english() -> None:
    data = OpenMoji(size=32)
    captions = data.annotations().captions
    assert captions is not None and len(captions) == len(data.rows())
    of = dict(zip((r.id for r in data.rows()), captions, strict=True))
    assert of["1F600"] == "grinning face"
    assert of["1F44B-1F3FD"] == "waving hand medium skin tone"
    assert of["1F45A"] == "woman's clothes"
    assert not [c for c in captions if re.search(r"[_:’]|  |^\s|\s$", c) or not c]
    assert "002D" not in of, "an icon without a name stays out"


def test_no_base_emoji_is_in_both_splits() -> None:
    data = OpenMoji(size=32)
    captions = data.annotations().captions or []
    by_base, by_name = defaultdict(set), defaultdict(set)
    for row, caption in zip(data.rows(), captions, strict=True):
        by_base[base_emoji(row.id)].add(row.split)
        by_name[TONE.sub("", caption)].add(row.split)
    assert not [b for b, s in by_base.items() if len(s) > 1]
    # names see what code points hide: 1F46B and 1F469-…-1F91D-…-1F468 are both "woman and man holding hands"
    assert not [n for n, s in by_name.items() if len(s) > 1]


def test_base_emoji() -> None:
    assert base_emoji("1F44B-1F3FD") == base_emoji("1F44B")
    assert base_emoji("1F468-1F3FB-200D-1F373") == base_emoji("1F9D1-200D-1F373")
    assert base_emoji("1F46B") == base_emoji("1F469-1F3FE-200D-1F91D-200D-1F468-1F3FB")
    assert base_emoji("1F600") != base_emoji("1F601")


@pytest.mark.slow
def test_no_drawing_is_in_both_splits(tmp_path: Path) -> None:
    OpenMoji(size=32).prepare(tmp_path)
    images = load_images(tmp_path)
    seen = defaultdict(set)
    for image, split in zip(images.pixels, images.split, strict=True):
        seen[image.tobytes()].add(int(split))
    assert len(seen) > 3000
    assert not [s for s in seen.values() if len(s) > 1]


@pytest.mark.parametrize("size", [32, 64])
def test_prepare_and_load(tmp_path: Path, size: int) -> None:
    data = OpenMoji(size=size, limit=40)
    data.prepare(tmp_path)
    images = load_images(tmp_path)
    assert images.pixels.shape == (104, size, size, 3)
    assert len(images.indices("train")) == 40 and len(images.indices("validation")) == 64
    assert images.ids == [r.id for r in data.rows()]
    assert [images.ids[i] for i in images.flags[SKIN_TONE]] == [r.id for r in data.rows() if SKIN_TONE in r.flags]
    assert (images.pixels[:, 0, 0] == 255).mean() > 0.9, "on white"
    assert (images.pixels.reshape(104, -1).min(axis=1) < 128).all(), "each shows something"
    colour = images.pixels.astype(int)
    assert (np.abs(colour[..., 0] - colour[..., 2]).max(axis=(1, 2)) > 40).mean() > 0.5


def test_flag_of_france_is_upright_and_in_order() -> None:
    data = OpenMoji(size=32)
    (row,) = [r for r in data.rows() if r.id == "1F1EB-1F1F7"]
    (image,) = data.images([row])
    left, middle, right = (image[16, x].astype(int) for x in (6, 16, 26))
    assert left[2] > left[0] + 40 and middle.min() > 230 and right[0] > right[2] + 100


def test_fingerprint_is_stable_and_apart_from_names(monkeypatch: pytest.MonkeyPatch) -> None:
    data = OpenMoji(size=32, limit=100)
    before = data.fingerprint()
    assert before == OpenMoji(size=32, limit=100).fingerprint()
    assert before.images != OpenMoji(size=48, limit=100).fingerprint().images
    renamed = {stem: name.replace("face", "visage") for stem, name in english_names().items()}
    assert renamed != english_names()
    monkeypatch.setattr("ablatent.data.openmoji.english_names", lambda: renamed)
    after = data.fingerprint()
    assert after.images == before.images and after.annotations != before.annotations


def test_fingerprint_sees_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablatent.data import openmoji

    data = OpenMoji(size=32, limit=20)
    before, read = data.fingerprint(), openmoji.svg_bytes
    monkeypatch.setattr(openmoji, "svg_bytes", lambda stem: read(stem).replace(b"#", b"# ", 1))
    after = data.fingerprint()
    assert after.images != before.images and after.annotations == before.annotations
