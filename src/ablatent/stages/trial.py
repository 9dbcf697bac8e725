"""A few steps of a training on made-up data, timed, to know how long all of them will take."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ablatent.stages.context import compute_of
from ablatent.tracking.base import NoRun, RunSpec
from ablatent.training.batches import BatchAt
from ablatent.training.loop import fit
from ablatent.training.record import Recorder
from ablatent.training.trainee import Trainee

STEPS = 20
"""So many steps are timed at most of those that cost alike."""


@dataclass(frozen=True)
class TrialTraining:
    """A training with fresh weights on made-up data. phases: (first step, number of steps) of its parts, within which
    all steps cost alike; precision: of the training."""

    trainee: Trainee
    batch_at: BatchAt
    phases: Sequence[tuple[int, int]]
    precision: str


class _Enough(Exception):
    """Enough steps were timed."""


@dataclass
class _Scratch:
    """A folder for a training that keeps nothing."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Where no checkpoint is ever written."""
        return self.path / "none"

    def check(self) -> None:
        """Nobody takes the build over."""


class _StepClock:
    """In place of what a training does after its steps: notes when each ended. until: by the monotonic clock."""

    def __init__(self, until: float):
        self.until = until
        self.ends: list[float] = []

    def __call__(self, step: int, recorder: Recorder) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())
        if len(self.ends) > STEPS or (len(self.ends) > 1 and self.ends[-1] >= self.until):
            raise _Enough


def seconds_a_step(trial: TrialTraining, runtime: Mapping[str, Any], title: str, budget: float) -> list[float]:
    """Of each phase: the median over at most STEPS of its steps after a first one that is not counted.

    runtime: the node of the configuration; one device is used, without torch.compile. budget: seconds for all phases,
    beyond which no further step is begun; at least one step of each is timed.
    """
    compute = replace(compute_of(runtime, trial.precision), devices=1, strategy="ddp", compile=False)
    found = []
    for first, _ in trial.phases:
        clock = _StepClock(time.monotonic() + budget / len(trial.phases))
        trial.trainee.step, trial.trainee.steps = first, first + STEPS + 2
        trial.trainee.after_step = clock  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(Path(folder), NoRun(RunSpec()), writes=False)
            with suppress(_Enough):
                fit(trial.trainee, trial.batch_at, _Scratch(Path(folder)), recorder, compute, title)
        found.append(median(b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)))
    return found
