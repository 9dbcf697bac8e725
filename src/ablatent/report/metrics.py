"""Names, directions and digits of the metrics. A report shows `fid_192` as FID(quick), lower is better."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

SUFFIX = {"192": "(quick)", "2048": "", "768": "(768)", "64": "(64)"}
BASE = {  # name -> label, which direction is better
    "fid": ("FID", "lower"),
    "kid": ("KID", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "is": ("IS", "higher"),
    "rfid": ("rFID", "lower"),
    "psnr": ("PSNR [dB]", "higher"),
    "ssim": ("SSIM", "higher"),
    "perceptual": ("perceptual distance", "lower"),
}
SPECIAL: dict[str, tuple[str, str | None]] = {
    "is_effnet_lite0": ("IS*(EfficientNet-Lite0)", "higher"),
    "clip_score_vit_l14": ("CLIP score (ViT-L/14)", "higher"),
    "class_accuracy": ("class accuracy", "higher"),
    "object_recall": ("objects found", "higher"),
    "scene_accuracy": ("scenes complete", "higher"),
    "several_accuracy": ("scenes of several objects complete", "higher"),
    "box_hit_rate": ("boxes hit", "higher"),
    "miou": ("mIoU", "higher"),
    "pixel_accuracy": ("pixel accuracy", "higher"),
    "psnr_hole": ("PSNR in the hole [dB]", "higher"),
    "codebook_usage": ("codes in use", None),
    "codebook_perplexity": ("perplexity of the codes", None),
}
ARROW = {"lower": " ↓", "higher": " ↑", None: ""}
JUDGED = (
    "class_accuracy",
    "object_recall",
    "scene_accuracy",
    "several_accuracy",
    "box_hit_rate",
    "miou",
    "pixel_accuracy",
)
ORDER = [
    *("fid", "kid", "precision", "recall", "is", "is_effnet_lite0", "clip_score_vit_l14", *JUDGED),
    *("rfid", "psnr_hole", "psnr", "ssim", "perceptual"),
]
BESIDE = {
    "_baseline": " of decoded N(0, I)",
    "_chance": " by chance",
    "_of_mean_colour": " of the mean colour",
    "_of_bicubic": " of bicubic enlargement",
}


@dataclass(frozen=True)
class MetricName:
    """How one metric is shown. better: "lower", "higher", or None (a baseline or an unknown metric: nothing to win)."""

    name: str
    label: str
    better: str | None

    @property
    def title(self) -> str:
        return self.label + ARROW[self.better]


def describe(name: str) -> MetricName:
    """`fid_192` -> FID(quick), lower; `kid_192_baseline` -> KID(quick) of decoded N(0, I); others stay."""
    if name in SPECIAL:
        return MetricName(name, *SPECIAL[name])
    if (plain := without_beside(name)) != name:
        return MetricName(name, describe(plain).label + BESIDE[name.removeprefix(plain)], None)
    base, _, suffix = name.partition("_")
    if base in BASE and (not suffix or suffix in SUFFIX):
        label, better = BASE[base]
        return MetricName(name, label + SUFFIX.get(suffix, ""), better)
    return MetricName(name, name, None)


def without_beside(name: str) -> str:
    """The metric that a baseline, or a level of chance, stands beside."""
    return next((name.removesuffix(end) for end in BESIDE if name.endswith(end)), name)


def ordered(names: Iterable[str]) -> list[str]:
    """Samples first, then reconstructions; a baseline or chance right after its metric; unknown names last."""

    def place(name: str) -> tuple[int, str, bool]:
        plain = without_beside(name)
        base = plain if plain in ORDER else plain.partition("_")[0]
        return (ORDER.index(base) if base in ORDER else len(ORDER), plain, plain != name)

    return sorted(set(names), key=place)


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
