"""The fields of a job's configuration: of every key at its top, and of the nodes that are no objects.

Importing this imports none of the classes that it names: their fields are read from their sources (`core.schema`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from ablatent.core.errors import ConfigError
from ablatent.core.fields import (
    AverageWidth,
    Beside,
    Betas,
    Count,
    Fields,
    Modules,
    NotNegative,
    Positive,
    Precision,
    Probability,
    Ranges,
    Seed,
    StageKey,
    Supplied,
    Text,
    WeightsName,
    Whole,
)
from ablatent.core.schema import Field, fields_of
from ablatent.core.validation import check_value

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from ablatent.claims.claim import Claim
    from ablatent.conditioning.base import Conditioner
    from ablatent.data.augment import ShiftMirror
    from ablatent.data.base import ImageData
    from ablatent.diffusion.parameterization import Parameterization
    from ablatent.diffusion.timesteps import TimestepSampler
    from ablatent.diffusion.weighting import Weighting
    from ablatent.evaluation.judge_verdict import Verdict
    from ablatent.evaluation.scores import Extractor, Metric
    from ablatent.first_stage.base import FirstStage
    from ablatent.first_stage.losses import AutoencoderLoss
    from ablatent.first_stage.perceptual import Perceptual
    from ablatent.first_stage.pretrained import PretrainedFirstStage
    from ablatent.networks.judge import JudgeBackbone
    from ablatent.samplers.base import Sampler
    from ablatent.samplers.guidance import Guidance
    from ablatent.schedules.base import NoiseSchedule
    from ablatent.stages.kind_base import StageKind
    from ablatent.tasks.base import Task
    from ablatent.tracking.base import Tracking
    from ablatent.training.diffusion import DiffusionTraining
    from ablatent.training.first_stage import FirstStageTraining
    from ablatent.training.judge import JudgeTraining
    from ablatent.training.noisy_classifier import ClassifierTraining


NETWORK = ("in_channels", "out_channels", "context_dim", "vector_dim", "spatial_channels")
"""Arguments of a diffusion network that follow from the latents and the conditioner."""


@dataclass
class OptimizerRanges(Fields):
    """Arguments of torch's optimisers, whose own annotations have no ranges."""

    lr: Annotated[Positive, "learning rate"]
    betas: Annotated[Betas, "decay rates of the averages of the gradient and of its square"]
    eps: Annotated[Positive, "added to the denominator"]
    weight_decay: Annotated[NotNegative, "a step, times the learning rate"]
    momentum: Annotated[Probability, "share of the last step that is taken again"]
    dampening: Annotated[Probability, "share of the gradient that momentum leaves out"]
    alpha: Annotated[Probability, "decay rate of the average of the squared gradient"]
    nesterov: Annotated[bool, "momentum after Nesterov"]
    amsgrad: Annotated[bool, "divide by the largest average so far"]
    centered: Annotated[bool, "divide by the deviation of the gradient"]
    maximize: Annotated[Literal[False], "a loss is minimised"]
    foreach: Annotated[bool | None, "one kernel for many tensors; null: where it is faster"]
    fused: Annotated[bool | None, "one kernel for the whole step; null: as torch chooses"]
    capturable: Annotated[bool, "for CUDA graphs"]
    differentiable: Annotated[Literal[False], "no gradient flows through a step"]


AnyOptimizer = Annotated["Optimizer", Modules("torch.optim"), Supplied("params"), Ranges(OptimizerRanges)]


@dataclass
class FirstStageFields(Fields):
    """The keys of `first_stage` beside those of the model."""

    seed: Annotated[Seed, "of initial weights, batches, noise of the latents, dropout, restarts of codes"]
    loss: Annotated[AutoencoderLoss, "of the training"]
    training: Annotated[FirstStageTraining, "length, batches and learning rates"]


@dataclass
class LatentsFields(Fields):
    """The keys of `latents`."""

    normalizer: Annotated[Literal["channel", "scalar", "none"], "of latents: by channel, by one scale, or none"]
    flip: Annotated[bool, "cache the latents of mirrored images too"]


@dataclass
class DiffusionFields(Fields):
    """The keys of `diffusion`."""

    seed: Annotated[Seed, "of initial weights, batches, times, noise and dropout"]
    learned_variance: Annotated[bool, "the network also learns the variance of the reverse process"]
    init_from: Annotated[
        StageKey | None,
        "of an imported network: initial weights; of a training: it is lengthened; null: weights drawn from the seed",
    ]
    vlb_weight: Annotated[NotNegative, "of the variational bound, times T; with learned_variance"]
    shuffle_conditions: Annotated[bool, "a control: each image is trained with the condition of another one"]


@dataclass
class SamplesFields(Fields):
    """The keys of `samples`."""

    count: Annotated[Count, "samples that are drawn and scored"]
    seed: Annotated[Seed, "of initial noise, step noise and labels"]
    weights: Annotated[WeightsName, "which weights sample"]
    snapshot: Annotated[Annotated[int, Ge(1)] | Literal["last"], "of the weights: after so many steps"]
    ema_width: Annotated[
        AverageWidth | None, "of the power-function average that samples, made of those kept; null: samples.weights"
    ]
    prompts: Annotated[Sequence[Text] | None, "captions, or names of classes; null: those of validation images"]
    decode_tile: Annotated[Count | None, "side in latents from which larger ones are decoded by tiles; null: at once"]
    decode_overlap: Annotated[Whole, "latents that neighbouring tiles share at least"]


@dataclass
class ClassifierFields(Fields):
    """The keys of `classifier`."""

    network: Annotated[Module, Supplied("in_channels", "classes"), "of noisy latents"]
    optimizer: Annotated[AnyOptimizer, "of its training"]
    training: Annotated[ClassifierTraining, "length and batches"]
    seed: Annotated[Seed, "of initial weights, batches, times, noise and dropout"]


@dataclass
class JudgeFields(Fields):
    """The keys of `judge`: all, or a verdict of null alone."""

    verdict: Annotated[Verdict | None, "what the judge decides; null: no judge"]
    network: Annotated[JudgeBackbone | None, Supplied("outputs"), "of images"] = None
    augment: Annotated[ShiftMirror | None, "of its training images"] = None
    optimizer: Annotated[AnyOptimizer | None, "of its training"] = None
    training: Annotated[JudgeTraining | None, "length and batches"] = None
    seed: Annotated[Seed, "of initial weights, batches, augmentation and dropout"] = 0


@dataclass
class EvaluationFields(Fields):
    """The keys of `evaluation`."""

    extractor: Annotated[Extractor, "of the features that metrics compare"]
    metrics: Annotated[Mapping[str, Metric], "of samples, by names of your choice"]
    perceptual: Annotated[Perceptual, "distance by which reconstructions are judged"]
    reference_count: Annotated[Annotated[int, Ge(2)] | None, "real images in the reference set; null: all"]
    reconstruction_count: Annotated[Annotated[int, Ge(2)] | None, "validation images that are reconstructed; null: all"]
    reconstruction_metrics: Annotated[Sequence[Text], "names of the metrics that also judge reconstructions"]


@dataclass
class RuntimeFields(Fields):
    """The keys of `runtime`."""

    device: Annotated[Literal["auto", "cpu", "gpu"], "auto: the GPU where there is one"]
    devices: Annotated[Count, "of this machine, that train together"]
    strategy: Annotated[Literal["ddp", "fsdp"], "every device has the whole model, or parameters are spread over them"]
    grad_accum_steps: Annotated[Count, "micro-batches of an optimiser step, one after the other"]
    precision: Annotated[Precision, "how trainings compute; part of a trained stage's identity"]
    compile: Annotated[bool, "networks go through torch.compile in training"]
    compile_mode: Annotated[
        Literal["network", "blocks", "graphs"], "what is compiled: all, repeated blocks, or all as graphs"
    ]
    deterministic: Annotated[
        bool, "on a GPU: kernels that give the same bits each time, as resume needs, except the gradients of attention"
    ]
    threads: Annotated[Count | None, "CPU threads of torch; null: what torch chooses"]
    batch_size: Annotated[Count, "images at once where nothing is trained"]
    checkpoint_seconds: Annotated[NotNegative, "s from one checkpoint of a training to the next"]


@dataclass
class StoreFields(Fields):
    """The keys of `store`."""

    path: Annotated[Text, "folder of the artifacts, relative to the folder of the command"]
    on_code_change: Annotated[Literal["warn", "rebuild", "error"], "where other code made an artifact"]


@dataclass
class JobFields(Fields):
    """The keys at the top of a job's configuration, but for those of verbs."""

    seed: Annotated[Seed, "of replicates: of the diffusion training and of the samples"]
    data: Annotated[ImageData, "images and annotations"]
    first_stage: Annotated[FirstStage | PretrainedFirstStage, Beside(FirstStageFields, "trainable"), "the autoencoder"]
    perceptual: Annotated[Perceptual, "distance of the first stage's loss"]
    latents: Annotated[LatentsFields, "cached, normalised latents"]
    network: Annotated[Module, Supplied(*NETWORK), "that predicts"]
    schedule: Annotated[NoiseSchedule, "of noise"]
    parameterization: Annotated[Parameterization, "what the network predicts"]
    weighting: Annotated[Weighting, "of the loss over times"]
    timestep_sampler: Annotated[TimestepSampler, Supplied("schedule"), "times of a training batch"]
    conditioner: Annotated[Conditioner, "condition of the network"]
    optimizer: Annotated[AnyOptimizer, "of the diffusion training"]
    training: Annotated[DiffusionTraining, "of the diffusion network"]
    diffusion: Annotated[DiffusionFields, "further options of its training"]
    sampler: Annotated[Sampler, "from noise to latents"]
    guidance: Annotated[Guidance, "of the prediction"]
    samples: Annotated[SamplesFields, "that are drawn"]
    task: Annotated[Task, "use of the model"]
    classifier: Annotated[ClassifierFields, "that guides"]
    judge: Annotated[JudgeFields, "whether samples show their conditions"]
    evaluation: Annotated[EvaluationFields, "scores"]
    tracking: Annotated[Tracking, "of runs"]
    runtime: Annotated[RuntimeFields, "where and how stages compute"]
    store: Annotated[StoreFields, "of artifacts"]
    stages: Annotated[Mapping[str, StageKind] | None, "further kinds, by names of your choice"]
    claims: Annotated[Mapping[str, Claim], "what a sweep is to test, by names of your choice"]


@cache
def job_fields() -> Mapping[str, Field]:
    """Key → field, of the top of a job's configuration."""
    return fields_of(JobFields.__module__, JobFields.__qualname__)


@dataclass
class JobCheck:
    """Checks the values of jobs against their fields; each distinct node of a sweep once.

    outcomes: key and value of a node → the error that it has, or None.
    """

    outcomes: dict[str, ConfigError | None] = field(default_factory=dict)

    def __call__(self, config: Mapping[str, Any]) -> None:
        """Raise ConfigError for the first value that is not what its field declares, and for a missing one."""
        for key, at in job_fields().items():
            if key not in config:
                raise ConfigError(key, at.meaning, "nothing", "It cannot be left out, and ~ cannot delete it.")
            name = f"{key}={json.dumps(config[key], sort_keys=True, default=str)}"
            if name not in self.outcomes:
                self.outcomes[name] = _error(key, config[key], at)
            if (error := self.outcomes[name]) is not None:
                raise error


def _error(key: str, value: Any, at: Field) -> ConfigError | None:
    try:
        check_value(key, value, at)
    except ConfigError as e:
        return e
    return None
