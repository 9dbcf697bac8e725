"""imported: a diffusion network of another program, put into the store by do=import."""

from typing import ClassVar

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.stage import Stage


class ImportedKind(StageKind):
    """Decided by its architecture and the digest of its weights. No stage of a job: jobs name it (`init_from`)."""

    name = "imported"
    exported = True
    neutral: ClassVar = {"latent_size": None}

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        return {}
