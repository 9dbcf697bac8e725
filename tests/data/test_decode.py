"""The one reader of image files: every mode that Pillow gives, against pixels computed here, and what it refuses."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ablatent.core.errors import DataError
from ablatent.data.decode import DarkImages, image_size, read_image, read_images, read_rgb
from ablatent.data.image_folder import ImageFolder
from ablatent.data.maps import class_numbers

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 10), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 10), dtype=np.uint8)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png(levels: np.ndarray, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG file of 16 bits by hand: Pillow writes such of grey alone."""
    height, width = levels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    parts += [(b"tRNS", transparent)] if transparent else []
    parts += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read_rgb(data, "test"))


def threefold(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("scale", [257, 256])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_the_picture_in_8(kind: str, scale: int) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * np.uint16(scale))
    assert np.array_equal(pixels(encoded(deep, kind)), threefold(GREY))


def test_integers_of_32_bits_within_16_and_none_beyond() -> None:
    deep = Image.fromarray(GREY.astype(np.int32) * 257)
    assert deep.mode == "I" and np.array_equal(pixels(encoded(deep, "TIFF")), threefold(GREY))
    for beyond in (-1, 65536):
        wrong = Image.fromarray(np.where(GREY[0, 0] == GREY, beyond, GREY.astype(np.int32)).astype(np.int32))
        with pytest.raises(DataError, match=r"test: .*expected integers from 0 to 65535"):
            pixels(encoded(wrong, "TIFF"))


def test_real_levels_are_shares_of_white_or_of_255() -> None:
    shares = Image.fromarray((GREY / 255).astype(np.float32))
    assert shares.mode == "F" and np.array_equal(pixels(encoded(shares, "TIFF")), threefold(GREY))
    assert np.array_equal(pixels(encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF")), threefold(GREY))
    for wrong in (-0.5, 256.0, np.nan, np.inf):
        with pytest.raises(DataError, match="expected real levels from 0 to 1, or from 0 to 255"):
            pixels(encoded(Image.fromarray(np.full((4, 4), wrong, np.float32)), "TIFF"))


def test_colours_of_16_bits_keep_their_upper_8_and_their_transparent_colour() -> None:
    deep = RGB.astype(np.uint16) * 256 + 77
    assert np.array_equal(pixels(png(deep, 2)), RGB)
    key = deep[2, 3]
    expected = np.where((RGB[2, 3] == RGB).all(axis=2)[..., None], 255, RGB)
    assert np.array_equal(pixels(png(deep, 2, struct.pack(">3H", *key.tolist()))), expected)
    with_alpha = np.dstack([deep, ALPHA.astype(np.uint16) * 257])
    assert np.abs(pixels(png(with_alpha, 6)) - on_white(RGB, ALPHA)).max() <= 1
    grey_alpha = np.dstack([GREY, ALPHA]).astype(np.uint16) * 257
    assert np.abs(pixels(png(grey_alpha, 4)) - on_white(threefold(GREY), ALPHA)).max() <= 1


def test_the_transparent_level_of_16_bit_grey_is_white() -> None:
    deep = GREY.astype(np.uint16) * 256 + np.arange(10, dtype=np.uint16)
    key = int(deep[1, 1])
    expected = threefold(np.where(deep == key, 255, GREY))
    assert np.array_equal(pixels(png(deep, 0, struct.pack(">H", key))), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = Image.fromarray(np.dstack([RGB, ALPHA]))
    assert np.abs(pixels(encoded(image, kind, **options)) - on_white(RGB, ALPHA)).max() <= 1
    grey = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))
    assert np.abs(pixels(encoded(grey, kind, **options)) - on_white(threefold(GREY), ALPHA)).max() <= 1


def test_palettes_with_and_without_transparency() -> None:
    image = Image.fromarray((GREY // 64).astype(np.uint8), mode="L").convert("P")
    colours = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image.putpalette(colours.tobytes())
    expected = colours[GREY // 64]
    assert np.array_equal(pixels(encoded(image)), expected)
    assert np.array_equal(pixels(encoded(image, "GIF")), expected)
    for kind in ("PNG", "GIF"):
        seen_through = pixels(encoded(image, kind, transparency=2))
        assert np.array_equal(seen_through, np.where((GREY // 64 == 2)[..., None], 255, expected))
    alpha = bytes([0, 80, 160, 255])
    mixed = on_white(expected, np.frombuffer(alpha, np.uint8)[GREY // 64])
    assert np.abs(pixels(encoded(image, transparency=alpha)) - mixed).max() <= 1


def test_one_bit_and_cmyk() -> None:
    bits = GREY > 127
    assert np.array_equal(pixels(encoded(Image.fromarray(bits))), threefold(np.where(bits, 255, 0)))
    ink = RNG.integers(0, 256, (6, 10, 4), dtype=np.uint8)
    printed = (255.0 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    found = pixels(encoded(Image.fromarray(ink, mode="CMYK"), "TIFF"))
    assert np.abs(found - printed).max() <= 1


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (40, 200)]
    assert (pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == 40).all()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("TIFF", ".tif")])
def test_exif_turns_upright(tmp_path: Path, turn: int, kind: str, suffix: str) -> None:
    exif, image = Image.Exif(), Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    exif[ORIENTATION] = turn
    image.save(path := tmp_path / f"a{suffix}", kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(path) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert image_size(path) == expected.size == ((80, 48) if turn < 5 else (48, 80))
    assert np.array_equal(pixels(path.read_bytes()), np.asarray(expected))
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    if kind == "PNG":
        turned = encoded(deep, kind, exif=exif)
        grey = ImageOps.exif_transpose(Image.open(BytesIO(encoded(Image.fromarray(GREY), kind, exif=exif))))
        assert np.array_equal(pixels(turned), threefold(np.asarray(grey)))


def test_12_bit_values_in_16_bits_are_told_once_for_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(4):
        values = np.full((9, 9), 4095 if i < 3 else 40000, np.uint16)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    Image.new("I;16", (9, 9)).save(tmp_path / "black.png")
    data = ImageFolder(size=8, root=str(tmp_path), cache=None)
    list(data.images(data.rows()))
    printed = capsys.readouterr().out.replace("\n", "")
    assert printed.count("multiply the levels by 16") == 1
    assert f"{tmp_path}/0.png and 2 others" in printed
    dark = DarkImages("a set")
    read_image(tmp_path / "3.png", 8, "box", dark=dark)
    dark.say()
    assert not capsys.readouterr().out


def test_maps_are_upright_and_may_have_16_bits(tmp_path: Path) -> None:
    numbers, exif = np.zeros((4, 6), np.uint8), Image.Exif()
    numbers[:, 4:], exif[ORIENTATION] = 7, 6
    Image.fromarray(numbers).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(class_numbers(tmp_path / "turned.png"), np.rot90(numbers, -1))
    Image.fromarray(numbers.astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.array_equal(class_numbers(tmp_path / "deep.png"), numbers)
    for wrong in (np.full((2, 2), 300, np.uint16), RGB, np.dstack([GREY, ALPHA])):
        Image.fromarray(wrong).save(tmp_path / "wrong.png")
        with pytest.raises(DataError, match="expected a map of class numbers"):
            class_numbers(tmp_path / "wrong.png")


def test_images_that_threads_decode_come_in_order_with_the_first_error_in_its_place(tmp_path, capsys):
    """The first of the dark ones is the one that is named, whichever was decoded first."""
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 40, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    for i in (7, 9):
        Image.fromarray(np.full((40, 40), 100, np.uint16)).save(tmp_path / f"{i}.png")
    files = [tmp_path / f"{i}.png" for i in range(30)]
    found = list(read_images([(f, f.name) for f in files], 40, "box", "a set"))
    assert all(np.array_equal(a, read_image(f, 40, "box")) for a, f in zip(found, files, strict=True))
    assert "a set: 7.png and 1 others" in capsys.readouterr().out
    files[20].write_bytes(b"no image")
    images = read_images([(f, f.name) for f in files], 40, "box", "a set")
    assert np.array_equal([next(images) for _ in range(20)], found[:20])
    with pytest.raises(DataError, match=r"20\.png"):
        next(images)
