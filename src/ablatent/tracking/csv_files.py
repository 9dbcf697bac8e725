"""Runs as folders of plain files."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from ablatent.core.escape import file_name, for_csv
from ablatent.core.files import write_atomic
from ablatent.tracking.base import Run, RunSpec, Tracking

HEADER = "step,name,value"


class CsvRun(Run):
    """A folder: run.json (config, state, summary), metrics.csv (step,name,value), images/NAME-STEP.png."""

    backend = "csv"

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec)
        self.folder, self.values = folder, dict[str, Any]()
        self.metrics = folder / "metrics.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics.write_text(f"{HEADER}\n")
        self._save("running")

    def _save(self, state: str) -> None:
        about = {k: getattr(self.spec, k) for k in ("id", "name", "group", "job_type", "config")}
        text = json.dumps(
            {**about, "state": state, "error": self.failure, "summary": self.values}, indent=2, default=str
        )
        write_atomic(self.folder / "run.json", text.encode())

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        with self.metrics.open("a", newline="") as f:
            csv.writer(f).writerows([step, for_csv(name), float(value)] for name, value in values.items())

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        from PIL import Image

        path = self.folder / "images" / f"{file_name(name)}-{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)

    def summary(self, values: Mapping[str, Any]) -> None:
        self.values.update(values)

    def info(self) -> dict[str, Any]:
        return {**super().info(), "dir": str(self.folder)}

    def close(self) -> None:
        self._save("failed" if self.failure else "finished")


class CsvTracking(Tracking):
    """tracking=csv: folders under DIR/tracking/csv."""

    backend = "csv"

    def open(self, spec: RunSpec) -> Run:
        return CsvRun(spec, self.folder / "tracking" / "csv" / f"{spec.job_type}-{spec.id}")
