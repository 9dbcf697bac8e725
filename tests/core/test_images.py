"""Image grids and PNG files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablatent.core.images import grid, save_png


def test_grid_places_images_row_by_row() -> None:
    images = np.stack([np.full((2, 3, 3), 10 * (i + 1), dtype=np.uint8) for i in range(3)])
    images[0, 0, 0] = [1, 2, 3]
    out = grid(images, columns=2, scale=2, pad=1)
    assert out.shape == (2 * 5 + 1, 2 * 7 + 1, 3)
    assert out[1:3, 1:3].reshape(-1, 3).tolist() == [[1, 2, 3]] * 4
    assert (out[1:5, 8:14] == 20).all()
    assert (out[6:10, 1:7] == 30).all()
    assert (out[6:10, 7:] == 255).all()
    assert (out[0] == 255).all() and (out[:, 7] == 255).all()
    assert np.array_equal(grid(images[:1], columns=1, pad=0), images[0])


def test_grid_refuses() -> None:
    images = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    for bad in (images.astype(np.float32), images[0], images[:0]):
        with pytest.raises(ValueError, match="uint8 images"):
            grid(bad, 2)
    with pytest.raises(ValueError, match="columns"):
        grid(images, 0)


def test_png_keeps_pixels_and_text_and_has_fixed_bytes(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", image, {"prompt": "η = 0", "axes": "sampler=ddim"})
    save_png(tmp_path / "b.png", image, {"axes": "sampler=ddim", "prompt": "η = 0"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as read:
        assert np.array_equal(np.asarray(read), image)
        assert read.info == {"axes": "sampler=ddim", "prompt": "η = 0"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_png_grey_and_refusals(tmp_path: Path) -> None:
    save_png(tmp_path / "grey.png", np.full((2, 2), 9, dtype=np.uint8))
    with Image.open(tmp_path / "grey.png") as read:
        assert read.mode == "L" and read.info == {}
    with pytest.raises(ValueError, match="uint8"):
        save_png(tmp_path / "no.png", np.zeros((2, 2, 3)))
    assert not (tmp_path / "no.png").exists()
