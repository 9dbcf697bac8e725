"""CelebA-HQ (Karras et al. 2018): 30,000 aligned faces at 1024 px. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Lt

from ablatent.data.base import Annotations, Row, check_fraction, split_by_hash
from ablatent.data.decode import SUFFIXES
from ablatent.data.files import ListedImages


@dataclass(frozen=True, kw_only=True)
class CelebAHQ(ListedImages):
    """Any of its copies: CelebA-HQ-img/0.jpg …, imgHQ00000.npy … as its own tool writes them, or train/ and val/.

    There is no official split by number: without lists and folders a share of the images, `validation_fraction`, is
    held out by a hash of their names.
    """

    validation_fraction: Annotated[
        float, Gt(0), Lt(1), "share of the images that is held out where nothing else decides the split"
    ] = 0.1

    name: ClassVar[str] = "celeba_hq"
    obtain: ClassVar[str] = "CelebA-HQ: from github.com/switchablenorms/CelebAMask-HQ, whose CelebA-HQ-img is read."
    suffixes: ClassVar[tuple[str, ...]] = (*SUFFIXES, ".npy")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.validation_fraction)

    def default_split(self, ids: Sequence[str]) -> list[int]:
        return split_by_hash(ids, self.validation_fraction)

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        return Annotations()
