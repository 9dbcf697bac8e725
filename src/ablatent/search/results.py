"""What became of jobs that were handed over, from the records that they left in the store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ablatent.core.errors import AblatentError, DataError
from ablatent.report.load import load_sweep
from ablatent.report.model import JobResult, Sweep
from ablatent.search.objectives import value_of
from ablatent.search.record import FAILED, FINISHED, Objective, TrialRecord
from ablatent.search.space import Point
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder, sweep_ids
from ablatent.store.records import PlannedJob, PlanRecord


@dataclass(frozen=True)
class Outcome:
    """What became of a job. values: of the objectives, in order, empty unless it finished; reason: why it did not."""

    state: str
    values: list[float] = field(default_factory=list)
    sweep: SweepId | None = None
    job: int | None = None
    reason: str = ""

    def explained(self, refusal: Callable[[], str | None]) -> "Outcome":
        """The same, with the reason of a job that no sweep recorded since it was refused. refusal: gives it.

        Raises AblatentError for a job that could have run: its command ended before it began, for want of space, say.
        """
        if self.sweep is not None:
            return self
        reason = refusal()
        if reason is None:
            raise AblatentError(
                "The search stops: its jobs were not begun, as printed above. The same command goes on."
            )
        return replace(self, reason=reason)

    def trial(self, number: int, point: Point) -> TrialRecord:
        """The record of a trial that had this outcome."""
        return TrialRecord(number, self.state, point, self.values, self.sweep, self.job, self.reason)


class Batch:
    """The jobs that are handed over from now on, in whatever sweeps of the store. root: of the store."""

    def __init__(self, root: Path):
        self.root, self._before = root, set(sweep_ids(root))
        self._read: dict[SweepId, Sweep] = {}

    def planned(self) -> Iterator[tuple[SweepId, PlannedJob]]:
        """(sweep, job) of all jobs that were planned since, those of the newest sweep first."""
        for sweep in (name for name in sweep_ids(self.root) if name not in self._before):
            with suppress(DataError):  # a plan that cannot be read is named with its sweep's report
                plan = PlanRecord.read(sweep_folder(self.root, sweep) / PLAN)
                yield from ((sweep, job) for job in plan.jobs)

    def outcome(self, overrides: Sequence[str], objectives: Sequence[Objective]) -> Outcome:
        """What became of the job with these overrides; without a sweep where none recorded it."""
        for sweep, planned in self.planned():
            if planned.overrides == list(overrides):
                return self._of(sweep, planned.index, objectives)
        return Outcome(FAILED)

    def job(self, sweep: SweepId, index: int) -> tuple[Sweep, JobResult]:
        """A sweep that has ended, and one of its jobs. Raises ConfigError for a plan that cannot be read."""
        if sweep not in self._read:
            self._read[sweep] = load_sweep(self.root, sweep)
        return self._read[sweep], self._read[sweep].jobs[index]

    def _of(self, sweep: SweepId, index: int, objectives: Sequence[Objective]) -> Outcome:
        try:
            loaded, job = self.job(sweep, index)
        except AblatentError as error:
            return Outcome(FAILED, sweep=sweep, job=index, reason=str(error))
        if job.status != "finished":
            reason = job.status if job.error is None else job.error.message
            return Outcome(FAILED, sweep=sweep, job=index, reason=reason)
        values = {o.name: value_of(o.name, loaded, job) for o in objectives}
        if missing := [name for name, value in values.items() if value is None]:
            reason = f"it published no {', '.join(missing)}; its scores are {', '.join(job.scores) or 'none'}"
            return Outcome(FAILED, sweep=sweep, job=index, reason=reason)
        return Outcome(FINISHED, [float(value) for value in values.values() if value is not None], sweep, index)
