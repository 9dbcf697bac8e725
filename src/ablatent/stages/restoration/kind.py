"""restoration: images that a task restored, against what they should be."""

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.options import task_declares
from ablatent.stages.stage import Stage


class RestorationKind(StageKind):
    """Decided by its task, the metrics and the perceptual distance."""

    name = "restoration"
    version = 3
    reads = ("task",)
    extracts = True
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if "task" not in job.stages or not task_declares(job.config, "restores"):
            return {}
        evaluation = job.config["evaluation"]
        decides = {name: evaluation[name] for name in ("extractor", "perceptual", "metrics")}
        return {self.name: self.stage(decides, job.keys("task") | job.of_extractor)}
