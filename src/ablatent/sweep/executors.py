"""Executors: they build the stages of a plan."""

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from ablatent.core.errors import AblatentError
from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.stages.stage import Stage
from ablatent.sweep.builder import Builder
from ablatent.sweep.plan import Job, Plan


@dataclass
class StageOutcome:
    """The outcome of one stage in this invocation.

    status: built | found | failed | skipped; seconds: spent on it; error: stage, kind, message, traceback.
    """

    status: str
    seconds: float = 0.0
    error: dict[str, Any] | None = None


OnJobFinished = Callable[[Job, dict[str, StageOutcome], float], None]
"""Called at the end of a job with role → outcome, and the seconds that the job took."""


class Executor(ABC):
    """Builds the stages of a plan, each once, after its inputs."""

    @abstractmethod
    def run(self, plan: Plan, builder: Builder, finished: OnJobFinished) -> None:
        """Build all stages of all jobs that were not refused; a failure skips the stages below it and nothing else.

        finished: called at the end of each job, also of a refused one.
        """


@dataclass
class Inline(Executor):
    """Stages one after the other in this process, job by job.

    fail_fast: true: no stage is begun after the first failure, and the jobs that lack one have failed; false: a failure
    skips the stages below it alone.
    """

    fail_fast: Annotated[bool, "begin no stage after the first failure"] = False

    def run(self, plan: Plan, builder: Builder, finished: OnJobFinished) -> None:
        outcomes: dict[str, StageOutcome] = {}
        for job in plan.jobs:
            if len(plan.jobs) > 1:
                console.print(f"[bold]job {job.index}[/] {for_console(job.name)}")
            start = time.monotonic()
            if job.refused is None:
                for stage in job.stages.values():
                    if stage.key not in outcomes:
                        stopped = self.fail_fast and any(o.status == "failed" for o in outcomes.values())
                        outcomes[stage.key] = not_begun(stage) if stopped else build_one(stage, builder, outcomes)
            roles = {role: outcomes[stage.key] for role, stage in job.stages.items()}
            finished(job, roles, time.monotonic() - start)


def not_begun(stage: Stage) -> StageOutcome:
    """The outcome of a stage after the first failure of a sweep that stops there."""
    message = "not begun: the sweep stops at its first failure (executor.fail_fast=true)"
    return StageOutcome("skipped", error={"stage": stage.key, "kind": "Skipped", "message": message, "traceback": ""})


def build_one(stage: Stage, builder: Builder, outcomes: Mapping[str, StageOutcome]) -> StageOutcome:
    """Build a stage unless one of its inputs failed; an error becomes an outcome, and one printed line.

    outcomes: key → outcome, of its inputs at least.
    """
    if any(outcomes[key].status in ("failed", "skipped") for key in stage.inputs.values()):
        return StageOutcome("skipped")
    start = time.monotonic()
    try:
        _, built, spent = builder(stage)
        return StageOutcome("built" if built else "found", spent)
    except Exception as e:
        message = str(e) if isinstance(e, AblatentError) else f"{type(e).__name__}: {e}"
        console.print(f"  {stage.key.short:<24} [red]failed[/]: {for_console(message)}")
        trace = "".join(traceback.format_exception(e))
        error = {"stage": stage.key, "kind": stage.kind, "message": message, "traceback": trace}
        return StageOutcome("failed", time.monotonic() - start, error)
