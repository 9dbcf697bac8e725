"""first_stage: images → autoencoder."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ablatent.stages.kind_base import Check, Config, JobGraph, Size, StageKind
from ablatent.stages.stage import Stage

if TYPE_CHECKING:
    from ablatent.stages.trial import TrialTraining


class FirstStageKind(StageKind):
    """Decided by every field of `first_stage` and the images; an imported one by its model and weights alone."""

    name = "first_stage"
    trained = True
    training_key = "first_stage.training"
    exported = True
    sized_by = ("first_stage", "data")

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        node = job.config["first_stage"]
        if "digest" in node:  # imported: its weights alone decide it, whatever the images
            return {self.name: self.stage(node)}
        return {self.name: self.stage(node, {}, job.images, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.first_stage.check import check_first_stage, check_perceptual

        what = {"first_stage": config["first_stage"], "size": config["data"]["size"]}
        yield Check(self.name, what, lambda: check_first_stage(config))
        # reading its weights takes most of the time, and autoencoders share it
        if (node := config["first_stage"].get("loss", {}).get("perceptual")) is not None:
            yield Check("perceptual", node, lambda: check_perceptual(node))

    def sizes(self, config: Config) -> list[Size]:
        from ablatent.stages.first_stage.check import first_stage_size

        return [first_stage_size(config)]

    def trial(self, config: Config, stage: Stage) -> "TrialTraining | None":
        from ablatent.stages.first_stage.trial import first_stage_trial

        return first_stage_trial(config)
