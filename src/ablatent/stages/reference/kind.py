"""reference: features of real images, one stage for each split, count and extractor."""

from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.options import task_declares
from ablatent.stages.stage import Stage


class ReferenceKind(StageKind):
    """Decided by split, count, extractor and the images. Roles: reference_validation, reference_train."""

    name = "reference"
    extracts = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        evaluation, scored = job.config["evaluation"], task_declares(job.config, "scored")
        counts = {}
        if scored or not task_declares(job.config, "uses_model"):
            counts["validation"] = evaluation["reconstruction_count"]
        if scored:
            counts["train"] = evaluation["reference_count"]
        return {
            f"{self.name}_{split}": self.stage(
                {"split": split, "count": count, "extractor": evaluation["extractor"]},
                job.of_extractor,
                job.images,
                job.data,
            )
            for split, count in counts.items()
        }
