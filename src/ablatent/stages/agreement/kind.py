"""agreement: whether samples show their conditions, as a judge of real images sees it."""

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.stage import Stage


class AgreementKind(StageKind):
    """Decided by its samples and its judge."""

    name = "agreement"
    version = 2
    reads = ("samples", "judge")
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if "judge" not in job.stages:
            return {}
        return {self.name: self.stage({}, job.keys("samples", "judge"))}
