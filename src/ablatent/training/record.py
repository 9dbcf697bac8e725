"""The record of a training: rows of (step, name, value), kept with the artifact and mirrored to a tracker."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ablatent.core.files import sha256, sync, write_atomic
from ablatent.core.images import load_png, save_png
from ablatent.core.tensor_files import write_tensors
from ablatent.training.end_state import write_state

CURVES = "curves.csv"
HEADER = b"step,name,value\r\n"


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
        self.path, self.panels, self.tracker, self.every = folder / CURVES, folder / "panels", tracker, every
        self.folder, self.check, self.writes = folder, check, writes
        self.files: dict[str, dict[str, Any]] = {}
        """What was written so far: name → size and SHA-256, which checkpoints keep."""
        self.values: dict[str, list[float]] = {}
        self.rows: list[tuple[int, str, float]] = []

    def resume(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from a checkpoint that kept these `files`: what was recorded after it is forgotten, and what came
        before is logged to the tracker, whose run starts anew."""
        if not self.writes:
            return
        self.check()
        self.files = {name: dict(about) for name, about in files.items()}
        kept = self.files.get(CURVES)
        whole = self.path.read_bytes()[: kept["size"]] if kept else HEADER
        write_atomic(self.path, whole)
        self._track(whole)

    def _track(self, curves: bytes) -> None:
        """Log the rows of `curves` and the panels beside them to the tracker, in the order of steps."""
        values: dict[int, dict[str, float]] = {}
        for step, name, value in list(csv.reader(io.StringIO(curves.decode(), newline="")))[1:]:
            values.setdefault(int(step), {})[name] = float(value)
        panels: dict[int, list[tuple[str, Path]]] = {}
        for path in (self.folder / name for name in sorted(self.files)):
            if path.parent == self.panels:
                name, _, step = path.stem.rpartition("-")
                panels.setdefault(int(step), []).append((name, path))
        for at in sorted({*values, *panels}):
            if at in values:
                self.tracker.log(at, values[at])
            for name, path in panels.get(at, []):
                self.tracker.images(at, name, load_png(path))

    def changed(self, state: Mapping[str, Any]) -> str | None:
        """The name of a file that is not, up to the size that a checkpoint kept of it, as it was then; else None."""
        for name, about in state.get("files", {}).items():
            path = self.folder / name
            if not path.is_file() or sha256(path, about["size"]) != about["sha256"]:
                return name
        return None

    def _keep(self, path: Path) -> None:
        about = {"size": path.stat().st_size, "sha256": sha256(path)}
        self.files[path.relative_to(self.folder).as_posix()] = about

    def train(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """One step's values, each named train/NAME; returns the means when they are due, else an empty dict."""
        for name, value in values.items():
            self.values.setdefault(f"train/{name}", []).append(value)
        if step % self.every:
            return {}
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        self.values.clear()
        self.log(step, means)
        return means

    @property
    def pending(self) -> dict[str, list[float]]:
        """The training values since the last mean, by name: of a checkpoint between two means, for its resume."""
        return {name: list(values) for name, values in self.values.items()}

    def take_up(self, values: Mapping[str, Sequence[float]]) -> None:
        """Go on with what was `pending` at a checkpoint."""
        self.values = {name: list(own) for name, own in values.items()}

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
        path = self.panels / f"{name}-{step:07d}.png"
        save_png(path, image)
        self._keep(path)
        self.tracker.images(step, name, image)

    def weights(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """NAME.safetensors, of whole tensors on any device; a name may be that of a file in a folder."""
        if self.writes:
            self.check()
            own = {key: v.detach().cpu().contiguous() for key, v in tensors.items()}
            path = self.folder / f"{name}.safetensors"
            path.parent.mkdir(exist_ok=True)
            write_tensors(path, own)
            self._keep(path)

    def state(self, name: str, state: Mapping[str, Any]) -> None:
        """NAME.safetensors, of nested plain values and whole tensors, see `end_state`."""
        if self.writes:
            self.check()
            path = self.folder / f"{name}.safetensors"
            write_state(path, state)
            self._keep(path)

    def flush(self) -> None:
        """Append the rows to the file. Called before each checkpoint, which then counts on every row up to its step."""
        if not self.writes:
            return
        self.check()
        with self.path.open("a", newline="") as f:
            csv.writer(f).writerows([(s, n, repr(v)) for s, n, v in self.rows])
        sync(self.path)
        self.rows.clear()
        self._keep(self.path)
