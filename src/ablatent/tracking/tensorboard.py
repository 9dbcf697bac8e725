"""Runs as TensorBoard event files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from ablatent.tracking.base import Run, RunSpec, Tracking


class TensorboardRun(Run):
    """Event files of one run; its config and its end are texts."""

    backend = "tensorboard"

    def __init__(self, spec: RunSpec, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(spec)
        self.folder = folder
        for earlier in folder.glob("events.out.tfevents.*"):  # of a training that this run resumes
            earlier.unlink()
        self.writer = SummaryWriter(log_dir=str(folder))
        self._text("config", spec.config)

    def _text(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2, default=str).replace("\n", "\n    ")
        self.writer.add_text(name, f"    {text}")

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, float(value), step)

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")

    def summary(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.writer.add_scalar(f"summary/{name}", float(value), 0)
            else:
                self._text(f"summary/{name}", value)

    def info(self) -> dict[str, Any]:
        return {**super().info(), "dir": str(self.folder)}

    def close(self) -> None:
        self._text("state", {"state": "failed" if self.failure else "finished", "error": self.failure})
        self.writer.close()


class TensorboardTracking(Tracking):
    """tracking=tensorboard: events under DIR/tracking/tensorboard."""

    backend = "tensorboard"

    def open(self, spec: RunSpec) -> Run:
        return TensorboardRun(spec, self.folder / "tracking" / "tensorboard" / f"{spec.job_type}-{spec.id}")
