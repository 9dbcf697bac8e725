"""diffusion: latents → weights of the network and its conditioner."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from ablatent.stages.kind_base import Check, Config, JobGraph, Size, StageKind
from ablatent.stages.options import reads_annotations, task_declares
from ablatent.stages.stage import Stage

if TYPE_CHECKING:
    from ablatent.stages.trial import TrialTraining

GROUPS = ("network", "schedule", "parameterization", "weighting", "conditioner", "timestep_sampler", "optimizer")
"""Config groups that decide a diffusion stage, beside `training` and `diffusion`."""


class DiffusionKind(StageKind):
    """Decided by its latents and embeddings, the groups of its training, and the annotations where it reads some."""

    name = "diffusion"
    reads = ("first_stage", "latents", "embeddings")
    trained = True
    training_key = "training"
    neutral: ClassVar = {
        "shuffle_conditions": False,
        "training.ema.power_widths": [],
        "training.ema.power_snapshots": 16,
    }
    exported = True
    sized_by = ("first_stage", "data", "network", "conditioner", "diffusion", "training")

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        config = job.config
        if not task_declares(config, "uses_model"):
            return {}
        decides = {**{name: config[name] for name in (*GROUPS, "training")}, **config["diffusion"]}
        digests = job.annotated if reads_annotations(config["conditioner"]) else job.images
        return {self.name: self.stage(decides, job.keys(*self.reads), digests, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.diffusion.check import LEARNING, check_learning, check_network

        shapes = {name: config[name] for name in ("first_stage", "network", "conditioner", "data", "diffusion")}
        yield Check("network", shapes, lambda: check_network(config))
        learning = {name: config[name] for name in (*LEARNING, "training", "diffusion")}
        yield Check("learning", learning, lambda: check_learning(config))

    def sizes(self, config: Config) -> list[Size]:
        from ablatent.stages.diffusion.check import diffusion_sizes

        return diffusion_sizes(config)

    def trial(self, config: Config, stage: Stage) -> "TrialTraining":
        from ablatent.stages.diffusion.trial import diffusion_trial

        return diffusion_trial(config, stage.config)
