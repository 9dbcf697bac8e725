"""Masks of files: upright, of any depth, soft, and by transparency."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablatent.conditioning.mask_file import read_mask
from ablatent.core.errors import ConfigError

SIZE = (8, 16)


def mask_of(path: Path, image: Image.Image | np.ndarray, **options: object) -> np.ndarray:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return read_mask(path, SIZE, "mask")


def left_half(value: object = 255, other: object = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.tile(np.where(np.arange(16) < 8, value, other).astype(dtype), (8, 1))


HALF = left_half(1.0, 0.0, np.float32)


def test_white_is_filled_and_jpeg_leaves_no_trace(tmp_path: Path) -> None:
    assert np.array_equal(mask_of(tmp_path / "m.png", left_half()), HALF)
    assert np.array_equal(mask_of(tmp_path / "m.jpg", left_half(), quality=75), HALF)
    assert np.array_equal(mask_of(tmp_path / "m.png", left_half() > 0), HALF)


def test_a_jpeg_with_exif_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    assert np.array_equal(mask_of(tmp_path / "m.jpg", left_half()[::-1, ::-1], exif=exif), HALF)
    exif[0x0112] = 6  # the camera was held upright
    assert np.array_equal(mask_of(tmp_path / "m.jpg", np.rot90(left_half()), exif=exif), HALF)


def test_16_bits_are_levels_of_65535(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 128).round().astype(np.uint16).reshape(SIZE)
    share = mask_of(tmp_path / "m.png", ramp)
    assert abs(share.mean() - 0.5) < 0.005 and np.abs(share - ramp / 65535).max() < 0.05
    assert np.array_equal(mask_of(tmp_path / "m.png", left_half(65535, 300, np.uint16)), HALF)
    with pytest.raises(ConfigError, match=r"all black.*multiply the levels by 16"):
        mask_of(tmp_path / "m.png", left_half(1000, 0, np.uint16))


def test_grey_is_the_share_to_fill(tmp_path: Path) -> None:
    share = mask_of(tmp_path / "m.png", left_half(102))
    assert np.allclose(share, left_half(0.4, 0.0, np.float32), atol=1e-6)
    assert np.allclose(mask_of(tmp_path / "m.png", left_half(102, 204))[0], [0.4] * 8 + [0.8] * 8)


def test_transparency_says_what_to_fill(tmp_path: Path) -> None:
    black, photo = np.zeros((*SIZE, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    erased, painted = left_half(0, 255), left_half(255, 0)
    cases = {
        "erased from black": np.dstack([black, erased]),
        "erased from a photo": np.dstack([photo, erased]),
        "painted in white on nothing": np.dstack([black + 255, painted]),
        "painted in red on nothing": np.dstack([black + np.array([230, 20, 20], np.uint8), painted]),
        "grey levels, all opaque": np.dstack([left_half()] * 3 + [black[..., 0] + 255]),
        "white and black, and something erased": np.dstack([left_half(255, 0)] * 3 + [left_half(255, 255)]),
    }
    for name, levels in cases.items():
        assert np.array_equal(mask_of(tmp_path / "m.png", levels), HALF), name
    soft = mask_of(tmp_path / "m.png", np.dstack([black, left_half(153, 255)]))
    assert np.allclose(soft, left_half(0.4, 0.0, np.float32), atol=1e-6)
    palette = Image.fromarray(left_half(1, 0)).convert("P")
    assert np.array_equal(mask_of(tmp_path / "m.gif", palette, transparency=1), HALF)


def test_nothing_to_fill_or_to_keep(tmp_path: Path) -> None:
    for level, got in ((255, "all white"), (250, "all white"), (0, "all black"), (5, "all black")):
        with pytest.raises(ConfigError, match=got):
            mask_of(tmp_path / "m.png", np.full(SIZE, level, np.uint8))
    with pytest.raises(ConfigError, match="size, 16x8; got '8x8'"):
        mask_of(tmp_path / "m.png", np.eye(8, dtype=np.uint8) * 255)
    (tmp_path / "m.png").write_text("no image")
    for file in ("m.png", "absent.png"):
        with pytest.raises(ConfigError, match=r"^mask: expected an image file"):
            read_mask(tmp_path / file, SIZE, "mask")
