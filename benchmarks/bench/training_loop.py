"""A whole training as a loop that is given turns: batches, step, averages, logs and all, as a stage runs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablatent.conditioning.none import NoConditioner
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.timesteps import Uniform
from ablatent.diffusion.weighting import Simple
from ablatent.training.diffusion import DiffusionTrainee, DiffusionTraining
from ablatent.training.loop import Runtime, fit
from ablatent.training.record import Recorder
from bench.row import Case

STEPS = 1_000_000
"""More than any measurement takes."""
COMPARED = 4
"""Steps whose losses are compared."""


def how(case: Case) -> dict[str, Any]:
    """The fields of `Runtime` of a case with or without `precision`: float32 is compiled, another where it is said."""
    precision = case.options.get("precision")
    compiled = bool(case.options.get("compiled", precision is None))
    return {"precision": precision or "32-true", "compile": compiled}


def diffusion_trainee(denoiser: Denoiser, settings: DiffusionTraining) -> DiffusionTrainee:
    """Trains an unconditional denoiser, without validation, by AdamW as it stands in torch."""
    return DiffusionTrainee(
        loss=DiffusionLoss(denoiser, Simple()),
        timesteps=Uniform(denoiser.schedule),
        conditioner=NoConditioner(),
        train_config=settings,
        seed=0,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        validation=[],
        panel=lambda: np.zeros((8, 8, 3), dtype=np.uint8),
    )


@dataclass(frozen=True)
class Folder:
    """Where a training writes, without a store around it."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Of the newest checkpoint."""
        return self.path / "last.ckpt"

    def check(self) -> None:
        """Nobody else writes here."""


class NoTracker:
    """Takes what is mirrored to a tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Drop them."""

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        """Drop it."""


class TrainingInTurns:
    """A training that is given a turn before each step. trainee, batch_at: as `fit` takes them; runtime: fields of
    `Runtime`.

    A turn lasts from the beginning of one step to that of the next, with whatever happens between two. There is no
    checkpoint within an hour. What it calls has these names and this order of arguments in other commits too.
    """

    def __init__(self, trainee: Any, batch_at: Any, folder: Path, **runtime: Any) -> None:
        self.trainee, self.batch_at, self.folder = trainee, batch_at, folder
        self.runtime = Runtime(checkpoint_seconds=3600.0, **runtime)
        self.losses: list[float] = []
        """Of the first steps, to be compared; reading one waits for the device."""

    def run(self, turn: Callable[[], None]) -> None:
        """Train until the process ends."""
        step = self.trainee.take_step

        def take_step(*arguments: Any) -> Any:
            turn()
            logs = step(*arguments)
            if len(self.losses) < COMPARED:
                self.losses.append(float(logs["loss"]))
            return logs

        self.trainee.take_step = take_step
        recorder = Recorder(self.folder, NoTracker())
        fit(self.trainee, self.batch_at, Folder(self.folder), recorder, self.runtime, "training")

    def first_losses(self) -> dict[str, np.ndarray]:
        """What must agree: the losses of the first steps, after as many turns."""
        return {"losses": np.asarray(self.losses[:COMPARED])}
