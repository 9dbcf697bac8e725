"""scores: samples against the reference."""

from collections.abc import Iterator

from ablatent.stages.kind_base import Check, Config, JobGraph, StageKind
from ablatent.stages.stage import Stage


class ScoresKind(StageKind):
    """Decided by its samples, its reference and the metrics."""

    name = "scores"
    reads = ("samples", "reference")
    extracts = True
    scored = True

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if "samples" not in job.stages:
            return {}
        evaluation = job.config["evaluation"]
        decides = {"metrics": evaluation["metrics"], "extractor": evaluation["extractor"]}
        inputs = {**job.keys("samples"), **job.of_extractor, "reference": job.stages["reference_train"].key}
        return {self.name: self.stage(decides, inputs)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.check_counts import check_sample_count
        from ablatent.stages.check_helpers import evaluation_check

        yield evaluation_check(config)
        what = {name: config[name] for name in ("data", "evaluation", "samples")}
        yield Check("sample count", what, lambda: check_sample_count(config))
