"""Greyscale data: pixels in one channel, other digests, the same as before in RGB."""

from pathlib import Path

import numpy as np
from PIL import Image

from ablatent.core.images import as_rgb, grid, levels, picture, save_png
from ablatent.data.digits import Digits
from ablatent.data.image_folder import ImageFolder
from ablatent.data.prepared import load_images


def test_grey_data_have_one_channel_of_the_same_levels(tmp_path: Path) -> None:
    kept = {}
    for channels in (1, 3):
        data = Digits(size=8, limit=20, channels=channels)
        data.prepare(tmp_path / str(channels))
        kept[channels] = load_images(tmp_path / str(channels)).pixels
    assert kept[1].shape[1:] == (8, 8, 1) and np.array_equal(as_rgb(kept[1]), kept[3])


def test_colours_become_their_luma(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(colours):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    data = ImageFolder(size=8, root=str(tmp_path), cache=None, channels=1)
    data.prepare(tmp_path / "out")
    luma = colours @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(load_images(tmp_path / "out").pixels[..., 0] - luma).max() <= 0.51


def test_channels_decide_the_digest_but_for_rgb(tmp_path: Path) -> None:
    plain, rgb, grey = Digits(size=8, limit=20), Digits(size=8, limit=20, channels=3), Digits(8, 20, channels=1)
    assert plain.fingerprint() == rgb.fingerprint()
    assert plain.fingerprint().images != grey.fingerprint().images
    assert plain.fingerprint().annotations == grey.fingerprint().annotations


def test_grey_images_in_grids_and_files(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 1), dtype=np.uint8)
    assert np.array_equal(grid(grey, 2), grid(np.repeat(grey, 3, axis=3), 2))
    save_png(tmp_path / "a.png", grey[0])
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L" and np.array_equal(levels(image), grey[0])
    assert picture(np.repeat(grey[0], 3, axis=2)).mode == "RGB"
