"""Whether a job's sampler, guidance, task and metrics fit its model: conditions, canvas, captions.

The same for a finished model, before the first step.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ablatent.conditioning.base import ConditionInfo
from ablatent.conditioning.source import class_index
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.instantiate import make
from ablatent.core.targets import class_of
from ablatent.data.base import ImageData
from ablatent.evaluation.scores import Metric
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.schedules.base import NoiseSchedule
from ablatent.stages.check_helpers import classes_of, construct
from ablatent.stages.models import blank_condition, dummy_inputs, make_network
from ablatent.stages.options import check_dropout, conditioner_parts, needs_of, readers_of, requested_of, task_declares
from ablatent.stages.stored import make_first_stage
from ablatent.tasks.base import Task
from ablatent.tasks.generate import Model

Config = Mapping[str, Any]


def check_sampling(config: Config) -> None:
    """Check task and guidance on this schedule, prompts and the null condition.

    Raises ConfigError.
    """
    sampler, schedule = construct("sampler", config["sampler"], Sampler), make(config["schedule"], NoiseSchedule)
    task = construct("task", config["task"], Task)
    if task.start_key is not None and sampler.start != 1:
        raise ConfigError("sampler.start", f"1 where {task.start_key} decides where sampling starts", sampler.start)
    task.check(sampler, schedule)
    check_prompts(config)
    guidance = construct("guidance", config["guidance"], Guidance)
    for used in task.samplers(sampler):
        guidance.check(used, schedule)
    if guidance.needs_null:
        check_dropout(config)


def check_prompts(config: Config) -> None:
    """Check that samples.prompts are captions, or names of the data's classes, which the samples can be conditioned on.

    Raises ConfigError.
    """
    prompts = config["samples"]["prompts"]
    if prompts is None:
        return
    needs = requested_of(config)
    if not needs & {"captions", "labels"}:
        raise ConfigError("samples.prompts", "null with a conditioner that reads no captions and no classes", prompts)
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        do = "For example 'samples.prompts=[\"a dog, left of a car\"]'."
        raise ConfigError("samples.prompts", "a list of texts, or null", prompts, do)
    if needs - {"captions", "labels"}:
        others = ", ".join(sorted(needs - {"captions", "labels"}))
        raise ConfigError("samples.prompts", f"null where the condition also reads {others}", prompts)
    if needs >= {"captions", "labels"}:
        do = "A prompt is a text or a class, not both."
        raise ConfigError("samples.prompts", "null where a sample is given a text and a class", prompts, do)
    if "labels" in needs:
        classes = make(config["data"], ImageData).outline().classes
        for prompt in prompts:
            class_index(prompt, classes, "samples.prompts")


def check_captions(config: Config) -> None:
    """Check that metrics which compare samples with their captions have some. Raises ConfigError."""
    evaluation, do = config["evaluation"], "Leave the metric out."
    for name, metric in evaluation["metrics"].items():
        kind: type[Metric] = class_of(metric)
        if kind.against != "captions":
            continue
        if "captions" not in needs_of(config["conditioner"]):
            readers = readers_of(config, ["captions"])
            do = f"Leave the metric out{f', or choose {readers}' if readers else ': this data has no captions'}."
            raise ConfigError(f"evaluation.metrics.{name}", "samples of captions", "a model that reads none", do)
        if not task_declares(config, "scored"):
            task = class_of(config["task"]).__name__
            raise ConfigError(f"evaluation.metrics.{name}", "task=sample, whose samples are scored", task, do)
        if name in evaluation["reconstruction_metrics"]:
            raise ConfigError("evaluation.reconstruction_metrics", "metrics that need no captions", name, do)


def condition_of(node: Mapping[str, Any]) -> list[ConditionInfo]:
    """One `ConditionInfo` for each part of a conditioner node that reads something."""
    kinds = [class_of(part) for part in conditioner_parts(node)]
    return [ConditionInfo(kind.__name__, tuple(kind.needs), kind.fills) for kind in kinds if kind.needs]


def check_task(config: Config) -> None:
    """Check that the task takes this model, and the network the task's canvas, where that is not the images' size.

    Raises ConfigError.
    """
    task, size = make(config["task"], Task), int(config["data"]["size"])
    task.check_model(condition_of(config["conditioner"]), size)
    height, width = task.canvas(size)
    if (height, width) == (size, size):
        return
    got = f"a canvas of {width}x{height} pixels"
    with torch.device("meta"), torch.no_grad():
        try:
            model = make_first_stage(config["first_stage"])
            trained, shape = model.latent_shape(size, size), model.latent_shape(height, width)
            setting = dummy_inputs(trained, size, *classes_of(config), model.image_channels)
            network, conditioner = make_network(config, setting, bool(config["diffusion"]["learned_variance"]))
            cond = blank_condition(conditioner, 2, setting, (height, width))
            network(torch.zeros(2, *shape), torch.zeros(2), cond)
        except (AblatentError, RuntimeError, ValueError) as e:
            raise ConfigError("task", "a canvas that first stage and network take", got, str(e).splitlines()[0]) from e


def check_sampling_of(model: Model, task: Task, sampler: Sampler, guidance: Guidance, size: int) -> None:
    """Raise ConfigError where a finished model cannot be sampled in this way. size: side of its images in pixels."""
    if not task.draws:
        do = "Run it as a job (do=run), or choose task=sample."
        raise ConfigError("task", "a task that answers requests", type(task).__name__, do)
    schedule = model.denoiser.schedule
    if sampler.steps > schedule.T:
        raise ConfigError(
            "sampler.steps", f"an integer from 1 to T={schedule.T} of the model's schedule", sampler.steps
        )
    task.check(sampler, schedule)
    task.check_model(model.conditioner.info(), size)
    if sampler.needs_variance and not model.denoiser.learned_variance:
        raise ConfigError("sampler.variance", "a fixed variance: the model has not learned one", "learned")
    if guidance.needs_null and (not model.conditioner.needs or model.conditioner.dropout == 0):
        got = f"a model of {'a condition it never went without' if model.conditioner.needs else 'no condition'}"
        raise ConfigError("guidance", "a model that learned with and without its condition", got, "Use guidance=none.")
    try:
        model.first_stage.latent_shape(*task.canvas(size))
    except ConfigError as e:
        raise ConfigError("task", "a canvas that the first stage takes", task.canvas(size), e.expected) from None
