"""Stages one after the other in this process."""

import time
from dataclasses import dataclass
from typing import Annotated

from ablatent.core.escape import for_console
from ablatent.core.progress import console
from ablatent.stages.stage import Stage
from ablatent.store.records import StageOutcome
from ablatent.sweep.executor import Executor, SweepRun, broken_input, not_begun
from ablatent.sweep.journal import beating
from ablatent.sweep.worker import build_one


@dataclass
class Inline(Executor):
    """Stages one after the other in this process, job by job.

    fail_fast: true: no stage is begun after the first failure, and the jobs that lack one have failed; false: a failure
    skips the stages below it alone.
    """

    fail_fast: Annotated[bool, "begin no stage after the first failure"] = False

    def run(self, sweep: SweepRun) -> None:
        outcomes: dict[str, StageOutcome] = {}
        for job in sweep.plan.jobs:
            if len(sweep.plan.jobs) > 1:
                console.print(f"[bold]job {job.index}[/] {for_console(job.name)}")
            start = time.monotonic()
            for stage in job.stages.values():
                if stage.key not in outcomes:
                    outcomes[stage.key] = self._outcome(stage, sweep, outcomes)
                    sweep.journal.end(stage.key, outcomes[stage.key])
            roles = {role: outcomes[stage.key] for role, stage in job.stages.items()}
            sweep.finished(job, roles, time.monotonic() - start)

    def _outcome(self, stage: Stage, sweep: SweepRun, outcomes: dict[str, StageOutcome]) -> StageOutcome:
        if self.fail_fast and any(outcome.status == "failed" for outcome in outcomes.values()):
            return not_begun(stage)
        if stage.key in sweep.given_up:
            return sweep.given_up[stage.key]
        if broken_input(stage, outcomes):
            return StageOutcome("skipped")
        sweep.journal.begin(stage.key)
        with beating(sweep.journal.beat_file(stage.key)):
            return build_one(stage, sweep.builder)
