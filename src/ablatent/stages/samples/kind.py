"""samples: a trained model and a sampler → images."""

import json
from collections.abc import Iterator
from functools import cache
from typing import ClassVar

from ablatent.stages.kind_base import Check, Config, JobGraph, StageKind
from ablatent.stages.options import guidance_declares, reads_annotations, takes_classes_in_turn, task_declares
from ablatent.stages.stage import Stage

MODEL = ("first_stage", "latents", "embeddings", "diffusion", "noisy_classifier")
"""The stages that sampling may read: the model, and what conditions and guides it."""


def drawn_from(job: JobGraph) -> tuple[dict[str, object], dict[str, str]]:
    """(options that decide the drawing of samples, digests of the validation images that give their conditions)."""
    config = job.config
    decides = {"sampler": config["sampler"], "guidance": config["guidance"], **config["samples"]}
    annotated = reads_annotations(config["conditioner"]) or guidance_declares(config, "reads")
    return decides, job.annotated if annotated else job.images


def sampling_checks(config: Config) -> Iterator[Check]:
    """The checks of all jobs that sample: sampler, guidance and task fit the schedule, the model and each other."""
    from ablatent.stages.check_sampling import check_captions, check_sampling, check_task

    names: tuple[str, ...] = ("sampler", "guidance", "task", "schedule", "conditioner", "samples", "data")
    yield Check("sampling", {name: config[name] for name in names}, lambda: check_sampling(config))
    names = ("first_stage", "network", "conditioner", "data", "task", "diffusion")
    yield Check("task", {name: config[name] for name in names}, lambda: check_task(config))
    names = ("evaluation", "conditioner", "task", "data")
    yield Check("captions", {name: config[name] for name in names}, lambda: check_captions(config))


def drawing_passes(config: Config, count: int) -> dict[str, int]:
    """The passes of drawing so many images: those of the sampler through what guidance combines, its gradients of a
    classifier (each as a pass and two more backward), and the decoding of x_0 and x_T as one pass of the first stage.
    """
    evaluations, rows, classified = _evaluations(json.dumps([config["sampler"], config["guidance"]], sort_keys=True))
    passes = {"diffusion": count * evaluations * rows, "first_stage": count}
    return {**passes, "noisy_classifier": 3 * count * evaluations} if classified else passes


@cache
def _evaluations(nodes: str) -> tuple[int, int, bool]:
    """(calls of a sampler, rows of the network in each, whether a classifier guides it), of the JSON of their nodes:
    jobs that differ in other things ask once."""
    from ablatent.core.instantiate import make
    from ablatent.samplers.base import Sampler
    from ablatent.samplers.guidance import Guidance

    sampler, guiding = json.loads(nodes)
    guidance = make(guiding, Guidance)
    return make(sampler, Sampler).nfe(), guidance.network_rows(), bool(guidance.needs_classifier)


class SamplesKind(StageKind):
    """Decided by the model, `sampler guidance samples`, and the annotations where its conditions come from some."""

    name = "samples"
    reads = MODEL
    figure = "grid.png"
    neutral: ClassVar = {"ema_width": None}

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if not task_declares(job.config, "scored"):
            return {}
        decides, digests = drawn_from(job)
        digests = {} if takes_classes_in_turn(job.config["conditioner"]) else digests
        return {self.name: self.stage(decides, job.keys(*self.reads), digests, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        yield from sampling_checks(config)

    def passes(self, config: Config) -> dict[str, int]:
        return drawing_passes(config, int(config["samples"]["count"]))
