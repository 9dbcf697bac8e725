"""latents: every image through the encoder, once."""

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.options import task_declares
from ablatent.stages.stage import Stage


class LatentsKind(StageKind):
    """Decided by its first stage, `latents` and the images."""

    name = "latents"
    reads = ("first_stage",)

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if not task_declares(job.config, "uses_model"):
            return {}
        return {self.name: self.stage(job.config["latents"], job.keys("first_stage"), job.images, job.data)}
