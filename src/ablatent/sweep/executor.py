"""What every executor offers: it builds the stages of a plan, each once, after its inputs."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.store.records import JobFailure, StageOutcome, StageState
from ablatent.sweep.builder import Builder
from ablatent.sweep.expected_time import Expected
from ablatent.sweep.journal import Journal
from ablatent.sweep.plan import Job, Plan

OnJobFinished = Callable[[Job, dict[str, StageOutcome], float], None]
"""Called at the end of a job with role → outcome, and the seconds that the job took."""


@dataclass
class SweepRun:
    """A sweep while its stages are built.

    builder: finds stages, and builds them where the executor does that itself; journal: where the stages stand;
    finished: called at the end of each job, also of a refused one; tracking: the node of the tracker, for workers;
    given_up: key → outcome of the stages that are not tried, with the reason; expected_time: (stage) -> its estimate,
    by which the longest path goes first; None: by what the store knows; slots: what `Executor.slots_on` says of it.
    """

    plan: Plan
    builder: Builder
    journal: Journal
    finished: OnJobFinished
    tracking: Mapping[str, Any] | None = None
    given_up: Mapping[str, StageOutcome] = field(default_factory=dict)
    expected_time: Callable[[Stage], Expected | None] | None = None
    slots: int = 1


class Executor(ABC):
    """Builds the stages of a plan."""

    @abstractmethod
    def run(self, sweep: SweepRun) -> None:
        """Build all stages of all jobs that were not refused; a failure skips the stages below it and nothing else."""

    @property
    def builds_here(self) -> bool:
        """Whether stages are built on this machine, by its devices: what others have is not known here."""
        return True

    def slots_on(self, runtime: Mapping[str, Any], missing: Mapping[Key, Stage]) -> int:
        """How many stages are built at once. runtime: the node of the configuration; missing: what is to be built,
        inputs before what reads them. Raises ConfigError where there are not enough devices for the number that is
        set."""
        return 1

    def cancel_left(self, states: Mapping[Key, StageState]) -> int:
        """End what a command that is gone has left running; how many builds. states: of its stages. Workers of this
        machine end with their command."""
        return 0


def threads_of(runtime: Mapping[str, Any], slots: int) -> int:
    """The threads of torch in each of so many slots."""
    return int(runtime.get("threads") or max(1, (os.cpu_count() or 1) // slots))


def not_begun(stage: Stage) -> StageOutcome:
    """The outcome of a stage after the first failure of a sweep that stops there."""
    message = "not begun: the sweep stops at its first failure (executor.fail_fast=true)"
    return StageOutcome("skipped", error=JobFailure(stage.key, "Skipped", message, ""))


def broken_input(stage: Stage, outcomes: Mapping[str, StageOutcome]) -> bool:
    """Whether one of the stages that a stage reads failed or was skipped. outcomes: key → outcome."""
    return any(outcomes[key].status in ("failed", "skipped") for key in stage.inputs.values() if key in outcomes)
