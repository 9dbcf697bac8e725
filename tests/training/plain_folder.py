"""A folder to train in, without a store around it."""

from dataclasses import dataclass
from pathlib import Path

from ablatent.tracking.base import NoTracking, RunSpec
from ablatent.training.record import Recorder


@dataclass(frozen=True)
class Folder:
    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.ckpt"

    def check(self) -> None:
        pass

    def recorder(self) -> Recorder:
        return Recorder(self.path, NoTracking().open(RunSpec()))
