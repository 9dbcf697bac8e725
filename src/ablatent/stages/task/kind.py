"""task: a trained model put to a use that ends in a figure and scores of its own, not in scored samples."""

from collections.abc import Iterator
from typing import ClassVar

from ablatent.stages.kind_base import Check, Config, JobGraph, StageKind
from ablatent.stages.options import conditioned, takes_classes_in_turn, task_declares
from ablatent.stages.samples.kind import MODEL, drawing_passes, drawn_from, sampling_checks
from ablatent.stages.stage import Stage


class TaskKind(StageKind):
    """Decided by the model, `task sampler guidance`, seed and weights of `samples`, the extractor and the images;
    annotations where its samples take the conditions of validation images."""

    name = "task"
    version = 2
    reads = MODEL
    extracts = True
    scored = True
    figure = "figure.png"
    neutral: ClassVar = {"ema_width": None}

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        config = job.config
        if not task_declares(config, "uses_model") or task_declares(config, "scored"):
            return {}
        decides, digests = drawn_from(job)
        decides |= {"task": config["task"], "extractor": config["evaluation"]["extractor"]}
        del decides["count"]  # a task has a count of its own
        if task_declares(config, "conditions_from") == "validation":
            from_images = conditioned(config)
        else:
            from_images = not takes_classes_in_turn(config["conditioner"])
        inputs = job.keys(*self.reads) | job.of_extractor
        return {self.name: self.stage(decides, inputs, digests if from_images else job.images, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.check_helpers import evaluation_check

        yield from sampling_checks(config)
        yield evaluation_check(config)

    def passes(self, config: Config) -> dict[str, int]:
        count = config["task"].get("count")
        return drawing_passes(config, count) if isinstance(count, int) else {}
