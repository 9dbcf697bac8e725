"""Pruning: a diffusion training that is behind those of earlier trials ends, and its trial with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, SupportsFloat

from ablatent.core.errors import StageError
from ablatent.core.progress import console, warn_once
from ablatent.report.model import UNREADABLE, JobResult, Sweep
from ablatent.search.results import Batch
from ablatent.search.space import Space
from ablatent.stages.diffusion.kind import GROUPS, DiffusionKind

if TYPE_CHECKING:
    from optuna.trial import Trial

CURVE = "validation/loss"
SAME_LOSS = ("network", "timestep_sampler", "optimizer")
"""Groups that decide a diffusion stage, and not what its validation measures."""
LOSS_CHANGES = (
    *(DiffusionKind.name, *DiffusionKind.reads, *(group for group in GROUPS if group not in SAME_LOSS)),
    *("data", "experiments", "perceptual", "preset", "training.loss", "training.precision"),
)
"""Keys, or their first parts, under whose values the validation loss measures something else."""


def incomparable(space: Space) -> list[str]:
    """The keys of a space between whose values the validation losses of diffusion cannot be compared."""
    plain = {key: key.lstrip("+").replace("@", ".").replace("/", ".") for key in space.keys}
    return [key for key, name in plain.items() if name in LOSS_CHANGES or name.split(".")[0] in LOSS_CHANGES]


class Pruned(StageError):
    """The end of a training that a search does not want any longer; its checkpoint stays."""


class CurveWatch:
    """Watches the validation losses of a batch, and raises Pruned where the pruner of the study says so.

    trials: of the batch, each with the overrides of its job; jobs: where their stages are planned.
    """

    def __init__(self, trials: Sequence[tuple[Trial, Sequence[str]]], jobs: Batch):
        self.trials, self.jobs = trials, jobs
        self.pruned: set[int] = set()
        """Numbers of the trials that were pruned."""
        self._of_stage: dict[str, tuple[list[Trial], int]] = {}
        self._reported: dict[int, set[int]] = {}

    def __call__(self, stage: str, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """A `Watcher`: see `tracking.watching`."""
        if not stage.startswith(f"{DiffusionKind.name}-") or CURVE not in values:
            return
        loss, (trials, last) = float(values[CURVE]), self._readers(stage)
        for trial in trials:
            self._report(trial, step, loss)
        verdicts = [trial.should_prune() for trial in trials]  # of all: a pruner notes how far each came
        if any(verdicts) and step < last:  # a training that is finished may as well be scored
            self.pruned |= {trial.number for trial in trials}
            raise Pruned(f"pruned at step {step}: its {CURVE}, {loss:.4g}, is behind that of earlier trials")

    def report_stored(self, trial: Trial, sweep: Sweep, job: JobResult) -> None:
        """Report the curve of a finished trial as far as it was not seen, of a stage that was found in the store."""
        key = job.stages.get(DiffusionKind.name, "")
        stored = sweep.objects.get(key)
        if job.built.get(key) == "built" and trial.number not in self._reported:
            warn_once("No curve was seen while it was measured: this executor builds elsewhere, so nothing is pruned.")
        try:
            rows: Iterable[Sequence[float]] = [] if stored is None else stored.curves().get(CURVE, [])
            for step, loss in rows:
                self._report(trial, int(step), float(loss))
        except UNREADABLE as error:
            console.print(f"  [yellow]trial {trial.number}: its curve cannot be read[/] ({type(error).__name__})")

    def _report(self, trial: Trial, step: int, loss: float) -> None:
        reported = self._reported.setdefault(trial.number, set())
        if step not in reported:  # a resumed training logs again what it had logged
            reported.add(step)
            trial.report(loss, step)

    def _readers(self, stage: str) -> tuple[list[Trial], int]:
        """(the trials of the batch that have a diffusion stage, its number of steps)."""
        if stage not in self._of_stage:
            jobs = [planned for _, planned in self.jobs.planned() if stage in planned.stages.values()]
            own = [planned.overrides for planned in jobs]
            trials = [trial for trial, overrides in self.trials if list(overrides) in own]
            self._of_stage[stage] = trials, max((int(job.config["training"]["steps"]) for job in jobs), default=0)
        return self._of_stage[stage]
