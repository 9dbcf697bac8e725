"""The record of a training: rows of (step, name, value), kept with the artifact and mirrored to a tracker."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ablatent.core.files import sync, write_atomic
from ablatent.core.images import save_png


@runtime_checkable
class Tracker(Protocol):
    """Where rows and panels are mirrored to."""

    def log(self, step: int, values: Mapping[str, float], /) -> None:
        """Values by name, after so many steps."""

    def images(self, step: int, name: str, image: np.ndarray, /) -> None:
        """An image (H, W, 3) uint8, after so many steps."""


class Recorder:
    """Writes curves.csv, panels/ and weights below `folder`.

    Training values are logged as means over `every` steps; a resume drops the rows after its checkpoint. check: called
    before anything is written; raises where this process may not write any more. writes: false on all ranks but the
    first: what they record is dropped.
    """

    def __init__(
        self,
        folder: Path,
        tracker: Tracker,
        every: int = 10,
        check: Callable[[], None] = lambda: None,
        writes: bool = True,
    ):
        self.path, self.panels, self.tracker, self.every = folder / "curves.csv", folder / "panels", tracker, every
        self.folder, self.check, self.writes = folder, check, writes
        self.sums: dict[str, list[float]] = {}
        self.rows: list[tuple[int, str, float]] = []

    def truncate(self, step: int) -> None:
        """Forget what was recorded after `step`."""
        if not self.writes:
            return
        self.check()
        kept = []
        if step and self.path.exists():
            with self.path.open(newline="") as f:
                kept = [r for r in list(csv.reader(f))[1:] if len(r) == 3 and int(r[0]) <= step]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("step", "name", "value"), *kept])
        write_atomic(self.path, text.getvalue().encode())

    def train(self, step: int, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """One step's values, each named train/NAME; returns the means when they are due, else an empty dict."""
        for name, value in values.items():
            self.sums.setdefault(f"train/{name}", []).append(value)  # type: ignore[arg-type]
        if step % self.every:
            return {}
        means = {name: float(sum(float(v) for v in values) / len(values)) for name, values in self.sums.items()}
        self.sums.clear()
        self.log(step, means)
        return means

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Rows of values by name, after so many steps; they reach the file at the next `flush`."""
        if not self.writes:
            return
        self.rows += [(step, name, float(value)) for name, value in values.items()]
        self.tracker.log(step, {name: float(value) for name, value in values.items()})

    def panel(self, step: int, name: str, image: np.ndarray) -> None:
        """An image (H, W, 3) uint8, as panels/NAME-STEP.png."""
        if not self.writes:
            return
        self.check()
        self.panels.mkdir(exist_ok=True)
        save_png(self.panels / f"{name}-{step:07d}.png", image)
        self.tracker.images(step, name, image)

    def weights(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """NAME.safetensors, of whole tensors on any device."""
        from safetensors.torch import save_file

        if self.writes:
            self.check()
            own = {key: v.detach().cpu().contiguous() for key, v in tensors.items()}
            save_file(own, str(self.folder / f"{name}.safetensors"))

    def flush(self) -> None:
        """Append the rows to the file. Called before each checkpoint, which then counts on every row up to its step."""
        if not self.writes:
            return
        self.check()
        with self.path.open("a", newline="") as f:
            csv.writer(f).writerows([(s, n, repr(v)) for s, n, v in self.rows])
        sync(self.path)
        self.rows.clear()
