"""What became of the images of a data set, and how classes are numbered in words. Free of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEYOND_LIMIT = "beyond data.limit"


@dataclass(frozen=True)
class Counts:
    """What became of the images of a source: found = train + validation + all that is left out.

    left_out: reason → number of images, where it is not 0; others: what lies beside them and is no image of the set,
    by kind (".heic", "hidden"); classes: their names, by number; remark: a sentence for whoever expects others, or "".
    """

    found: int
    train: int
    validation: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    remark: str = ""


def class_title(number: int, classes: Sequence[str]) -> str:
    """'2: sneaker': a class wherever it is shown, since label=2 asks for it by number and class=sneaker by name."""
    return f"{number}: {classes[number]}"
