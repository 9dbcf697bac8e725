"""reconstruction: validation images through the first stage and back, scored."""

from collections.abc import Iterator

from ablatent.stages.kind_base import Check, Config, JobGraph, StageKind
from ablatent.stages.stage import Stage


class ReconstructionKind(StageKind):
    """Decided by its first stage, its reference, the metrics and the perceptual distance."""

    name = "reconstruction"
    version = 4
    reads = ("first_stage", "reference")
    extracts = True
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if "reference_validation" not in job.stages:
            return {}
        evaluation = job.config["evaluation"]
        decides = {
            "count": evaluation["reconstruction_count"],
            "extractor": evaluation["extractor"],
            "perceptual": evaluation["perceptual"],
            "metrics": {name: evaluation["metrics"][name] for name in evaluation["reconstruction_metrics"]},
        }
        inputs = {**job.keys("first_stage"), **job.of_extractor, "reference": job.stages["reference_validation"].key}
        return {self.name: self.stage(decides, inputs, job.images, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.check_counts import check_reconstruction_count
        from ablatent.stages.check_helpers import evaluation_check

        yield evaluation_check(config)
        what = {name: config[name] for name in ("data", "evaluation")}
        yield Check("reconstruction count", what, lambda: check_reconstruction_count(config))
