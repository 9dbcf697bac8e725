"""FFHQ (Karras et al. 2019): 70,000 aligned faces, 00000.png to 69999.png. Free of torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ablatent.core.errors import ConfigError
from ablatent.data.base import TRAIN, VALIDATION, Annotations, Row
from ablatent.data.files import ListedImages

# ffhq-dataset-v2.json: the first 60,000 are for training, the last 10,000 for validation.
FIRST_VALIDATION = 60_000


@dataclass(frozen=True)
class FFHQ(ListedImages):
    """The numbered images, in one folder or in subfolders of a thousand; those from 60,000 on are validation."""

    name: ClassVar[str] = "ffhq"
    obtain: ClassVar[str] = "FFHQ: images1024x1024 from github.com/NVlabs/ffhq-dataset."

    def default_split(self, ids: Sequence[str]) -> list[int]:
        numbers = [re.search(r"(\d+)\.\w+$", i) for i in ids]
        unnamed = [i for i, number in zip(ids, numbers, strict=True) if number is None]
        splits = [VALIDATION if n and int(n[1]) >= FIRST_VALIDATION else TRAIN for n in numbers]
        if unnamed or len(set(splits)) < 2:
            got = unnamed[0] if unnamed else f"{len(ids)} images of one split, {ids[0]} to {ids[-1]}"
            raise ConfigError(
                "data.val_list",
                f"a list of validation images where their numbers do not say (from {FIRST_VALIDATION} on)",
                got,
                "Or use data=image_folder.",
            )
        return splits

    def annotate(self, rows: Sequence[Row]) -> Annotations:
        return Annotations()
