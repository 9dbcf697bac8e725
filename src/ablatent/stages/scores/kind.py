"""scores: samples against the reference."""

from collections.abc import Iterator
from dataclasses import replace

from ablatent.core.declared import declared
from ablatent.stages.kind_base import Check, Config, JobGraph, StageKind
from ablatent.stages.scores.figure import NEIGHBOURS
from ablatent.stages.stage import Stage


class ScoresKind(StageKind):
    """Decided by its samples, its reference and the metrics; by held-out images too where a metric is about training
    images."""

    name = "scores"
    version = 2
    reads = ("samples", "reference")
    extracts = True
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if "samples" not in job.stages:
            return {}
        evaluation = job.config["evaluation"]
        decides = {"metrics": evaluation["metrics"], "extractor": evaluation["extractor"]}
        inputs = {**job.keys("samples"), **job.of_extractor, "reference": job.stages["reference_train"].key}
        if not any(declared(metric, "training_images", False) for metric in evaluation["metrics"].values()):
            return {self.name: self.stage(decides, inputs)}
        inputs["held_out"] = job.stages["reference_validation"].key
        return {self.name: replace(self.stage(decides, inputs, job.images, job.data), figure=NEIGHBOURS)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.check_counts import check_sample_count
        from ablatent.stages.check_helpers import evaluation_check

        yield evaluation_check(config)
        what = {name: config[name] for name in ("data", "evaluation", "samples")}
        yield Check("sample count", what, lambda: check_sample_count(config))
