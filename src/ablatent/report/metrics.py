"""How scores are shown: their order, their arrows, their digits. What a score is called, the store says."""

import math
from collections.abc import Iterable, Mapping

ARROW = {"lower": " ↓", "higher": " ↑", None: ""}
ORDER = [
    *("fid", "fd", "fid_inf", "fd_inf", "kid", "kd", "precision", "recall", "density", "coverage", "authenticity"),
    *("is", "is_effnet_lite0", "clip_score_vit_l14"),
    *("class_accuracy", "object_recall", "scene_accuracy", "several_accuracy", "box_hit_rate", "miou"),
    *("pixel_accuracy", "nfe", "seconds_per_image", "rfid", "rfd", "psnr_hole", "psnr", "ssim", "perceptual"),
]
"""Of columns: samples first, then reconstructions. Scores that are not listed come after these, by name."""


def ordered(beside: Mapping[str, str | None]) -> list[str]:
    """The names in the order of columns; a score beside another comes right after it.

    beside: name → the score that it is a yardstick of, None for a score of its own.
    """

    def place(name: str) -> tuple[int, str, bool]:
        plain = beside[name] or name
        base = plain if plain in ORDER else plain.partition("_")[0]
        return (ORDER.index(base) if base in ORDER else len(ORDER), plain, plain != name)

    return sorted(beside, key=place)


def decimals(values: Iterable[float]) -> int:
    """Decimal places that give the smallest value of a column three significant digits, between 2 and 6."""
    sizes = [abs(v) for v in values if v]
    return min(6, max(2, 2 - math.floor(math.log10(min(sizes))))) if sizes else 2


def best_of(values: list[float | None], better: str | None, places: int) -> set[int]:
    """Indices of the best value as printed (ties share it); empty when there is nothing to compare."""
    known = [round(v, places) for v in values if v is not None]
    if better is None or len(known) < 2 or min(known) == max(known):
        return set()
    best = min(known) if better == "lower" else max(known)
    return {n for n, v in enumerate(values) if v is not None and round(v, places) == best}
