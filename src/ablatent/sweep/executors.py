"""Who builds the stages of a plan."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape

from ablatent.core.errors import AblatentError
from ablatent.core.progress import console
from ablatent.stages.context import short
from ablatent.stages.graph import Stage
from ablatent.sweep.build import Builder
from ablatent.sweep.plan import Job, Plan


@dataclass
class Outcome:
    """What became of one stage in this invocation: built | found | failed | skipped."""

    status: str
    seconds: float = 0.0
    error: dict[str, Any] | None = None


@dataclass
class Inline:
    """Stages one after the other in this process, job by job; a failure skips what hangs below it and nothing else."""

    builder: Builder
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, plan: Plan, finished: Callable[[Job, dict[str, Outcome], float], None]) -> None:
        """`finished` is called after each job with role → outcome and the seconds that the job took."""
        for job in plan.jobs:
            if len(plan.jobs) > 1:
                console.print(f"[bold]job {job.index}[/] {escape(job.name)}")
            start = time.monotonic()
            if job.refused is None:
                for stage in job.stages.values():
                    if stage.key not in self.outcomes:
                        self.outcomes[stage.key] = self._stage(stage)
            roles = {role: self.outcomes[stage.key] for role, stage in job.stages.items()}
            finished(job, roles, time.monotonic() - start)

    def _stage(self, stage: Stage) -> Outcome:
        for key in stage.inputs.values():
            if self.outcomes[key].status in ("failed", "skipped"):
                return Outcome("skipped")
        start = time.monotonic()
        try:
            _, built, spent = self.builder(stage)
            return Outcome("built" if built else "found", spent)
        except Exception as e:
            message = str(e) if isinstance(e, AblatentError) else f"{type(e).__name__}: {e}"
            console.print(f"  {short(stage.key):<24} [red]failed[/]: {escape(message)}")
            trace = "".join(traceback.format_exception(e))
            error = {"stage": stage.key, "kind": stage.kind, "message": message, "traceback": trace}
            return Outcome("failed", time.monotonic() - start, error)
