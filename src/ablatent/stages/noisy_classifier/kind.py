"""noisy_classifier: latents and labels → a classifier of noisy latents, for guidance that needs one."""

from collections.abc import Iterator

from ablatent.stages.kind_base import Check, Config, JobGraph, Size, StageKind
from ablatent.stages.options import guidance_declares, task_declares
from ablatent.stages.stage import Stage


class NoisyClassifierKind(StageKind):
    """Decided by its latents, `classifier`, the schedule and the annotations."""

    name = "noisy_classifier"
    reads = ("latents",)
    trained = True
    training_key = "classifier.training"
    sized_by = ("classifier", "first_stage", "data")

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        config = job.config
        if not task_declares(config, "uses_model") or self.name not in guidance_declares(config, "needs_stages"):
            return {}
        decides = {"schedule": config["schedule"], **config["classifier"]}
        return {self.name: self.stage(decides, job.keys("latents"), job.annotated, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.noisy_classifier.check import check_classifier

        what = {name: config[name] for name in ("classifier", "first_stage", "data")}
        yield Check(self.name, what, lambda: check_classifier(config))

    def sizes(self, config: Config) -> list[Size]:
        from ablatent.stages.noisy_classifier.check import classifier_size

        return [classifier_size(config)]
