"""agreement: whether samples show their conditions, as a judge of real images sees it."""

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.options import gives_features, looks_at_samples
from ablatent.stages.stage import Stage


class AgreementKind(StageKind):
    """Decided by its samples and its judge."""

    name = "agreement"
    version = 3
    reads = ("samples", "judge")
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        config = job.config
        for_features_alone = gives_features(config) and not looks_at_samples(config)
        if "judge" not in job.stages or "samples" not in job.stages or for_features_alone:
            return {}
        return {self.name: self.stage({}, job.keys("samples", "judge"))}
