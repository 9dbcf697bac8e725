"""The jobs of a sweep whose stages end in any order: each is handed on when its last stage has ended."""

from collections import defaultdict

from ablatent.store.identity import Key
from ablatent.store.records import StageOutcome
from ablatent.sweep.executor import SweepRun
from ablatent.sweep.plan import Job


class JobsLeft:
    """Calls `sweep.finished` at the end of each job; at once for those without stages, such as refused ones.

    The seconds of a job are those of the stages that no earlier job has.
    """

    def __init__(self, sweep: SweepRun):
        self.finished = sweep.finished
        self.outcomes: dict[str, StageOutcome] = {}
        self.jobs: defaultdict[Key, list[Job]] = defaultdict(list)
        self.left: dict[int, set[Key]] = {}
        for job in sweep.plan.jobs:
            self.left[job.index] = {stage.key for stage in job.stages.values()}
            for key in self.left[job.index]:
                self.jobs[key].append(job)
            if not job.stages:
                self.finished(job, {}, 0.0)

    def end(self, key: Key, outcome: StageOutcome) -> None:
        """A stage has ended."""
        self.outcomes[key] = outcome
        for job in self.jobs[key]:
            self.left[job.index].discard(key)
            if not self.left[job.index]:
                roles = {role: self.outcomes[stage.key] for role, stage in job.stages.items()}
                own = {s.key for s in job.stages.values() if self.jobs[s.key][0] is job}
                self.finished(job, roles, sum(self.outcomes[k].seconds for k in own))
