"""Noticing that a training has diverged, at the first step whose loss or gradients are not finite."""

import math
from collections.abc import Iterable, Mapping

from ablatent.core.errors import StageError

LABELS = {"grad_norm": "gradient norm", "critic": "critic's loss", "disc_grad_norm": "critic's gradient norm"}


def diverged(title: str, step: int, values: Mapping[str, float], lr_key: str) -> StageError:
    """The error of a training whose numbers are not finite any more.

    title: of the stage; step: after how many steps; values: name → what was found; lr_key: key of the learning rate to
    lower.
    """
    found = ", ".join(f"{LABELS.get(name, name)} {value:g}" for name, value in values.items())
    return StageError(f"{title}: the training diverged at step {step}: {found}. Lower {lr_key}.")


class FiniteSteps:
    """Looks at the values of all steps, some steps at a time.

    lr_keys: name of a value → key of the learning rate that it goes by. title: of the stage.
    """

    def __init__(self, title: str, lr_keys: Mapping[str, str]):
        self.title, self.lr_keys = title, lr_keys
        self.first: StageError | None = None

    def look(self, steps: Iterable[tuple[int, Mapping[str, float]]], scale: float | None) -> None:
        """Raise StageError for the first step so far that had a value that is not finite. steps: the number (1 for the
        first) and the values of each since the last look.

        scale: by which 16-mixed enlarges the gradients now, None in other precisions. A step whose gradients overflow
        is left out there, and the next is taken with half of the scale; so a training has diverged only where they
        overflow without any enlargement, and the step is the first of those left out since the last one taken.
        """
        for step, logs in steps:
            values = {name: logs[name] for name in self.lr_keys if name in logs}
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            if wrong and self.first is None:
                self.first = diverged(self.title, step, values, self.lr_keys[wrong[0]])
            elif not wrong and scale is not None:
                self.first = None
        if self.first is not None and (scale is None or scale < 1):
            raise self.first
