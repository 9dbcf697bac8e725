"""What a plan knows of a task before anything is trained: its model, what its samples are asked for, its canvas, and
whether there are captions to compare samples with."""

from collections.abc import Mapping
from typing import Any

import torch
from ablatent.core.instantiate import class_of

from ablatent.conditioning.source import class_index
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.evaluation.scores import Metric
from ablatent.samplers.base import Sampler
from ablatent.samplers.guidance import Guidance
from ablatent.stages.models import blank_condition, make_network, needs_of, reads_in, reads_of, shapes_alone
from ablatent.core.instantiate import make
from ablatent.stages.stored import make_first_stage
from ablatent.store.identity import stable_name
from ablatent.sweep.rules import readers_of
from ablatent.tasks.base import Task
from ablatent.tasks.generate import Model


def check_prompts(cfg: Mapping[str, Any]) -> None:
    """What samples are asked for: captions, or names of the data's classes."""
    prompts, needs = cfg["samples"]["prompts"], needs_of(cfg["conditioner"])
    if prompts is None:
        return
    if make(cfg["guidance"]).needs_classifier:
        needs = needs | {"labels"}  # the classifier is told a class
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
        classes = make(cfg["data"]).outline().classes
        for prompt in prompts:
            class_index(prompt, classes, "samples.prompts")


def check_captions(cfg: Mapping[str, Any]) -> None:
    """Metrics that compare samples with their captions have some."""
    evaluation, do = cfg["evaluation"], "Leave the metric out."
    for name, metric in evaluation["metrics"].items():
        kind: type[Metric] = get_class(metric["_target_"])
        if kind.against != "captions":
            continue
        if "captions" not in needs_of(cfg["conditioner"]):
            readers = readers_of(cfg, ["captions"])
            do = f"Leave the metric out{f', or choose {readers}' if readers else ': this data has no captions'}."
            raise ConfigError(f"evaluation.metrics.{name}", "samples of captions", "a model that reads none", do)
        if (task := stable_name(cfg["task"]["_target_"])) != "Sample":
            raise ConfigError(f"evaluation.metrics.{name}", "task=sample, whose samples are scored", task, do)
        if name in evaluation["reconstruction_metrics"]:
            raise ConfigError("evaluation.reconstruction_metrics", "metrics that need no captions", name, do)


def check_model(cfg: Mapping[str, Any], classes: tuple[int, int]) -> None:
    """The task takes this model, and the network the task's canvas, where that is not of the size of the pictures.

    classes: the numbers of classes and of segments of the data.
    """
    task, size = make(cfg["task"]), int(cfg["data"]["size"])
    task.check_model(reads_of(cfg["conditioner"]), size)
    height, width = task.canvas(size)
    if (height, width) == (size, size):
        return
    got = f"a canvas of {width}x{height} pixels"
    with torch.device("meta"), torch.no_grad():
        try:
            model = make_first_stage(cfg["first_stage"])
            trained, shape = model.latent_shape(size, size), model.latent_shape(height, width)
            setting = shapes_alone(trained, size, *classes)
            network, conditioner = make_network(cfg, setting, bool(cfg["diffusion"]["learned_variance"]))
            cond = blank_condition(conditioner, 2, setting, (height, width))
            network(torch.zeros(2, *shape), torch.zeros(2), cond)
        except (AblatentError, RuntimeError, ValueError) as e:
            raise ConfigError("task", "a canvas that first stage and network take", got, str(e).splitlines()[0]) from e


def check_sampling_of(model: Model, task: Task, sampler: Sampler, guidance: Guidance, size: int) -> None:
    """Raise ConfigError where a finished model cannot be sampled in this way, before the first step."""
    if not task.draws:
        do = "Run it as a job (do=run), or choose task=sample."
        raise ConfigError("task", "a task that answers requests", type(task).__name__, do)
    schedule = model.denoiser.schedule
    if sampler.steps > schedule.T:
        raise ConfigError(
            "sampler.steps", f"an integer from 1 to T={schedule.T} of the model's schedule", sampler.steps
        )
    task.check(sampler, schedule)
    task.check_model(reads_in(model.conditioner), size)
    if sampler.needs_variance and not model.denoiser.learned_variance:
        raise ConfigError("sampler.variance", "a fixed variance: the model has not learned one", "learned")
    if guidance.needs_null and (not model.conditioner.needs or model.conditioner.dropout == 0):
        got = f"a model of {'a condition it never went without' if model.conditioner.needs else 'no condition'}"
        raise ConfigError("guidance", "a model that learned with and without its condition", got, "Use guidance=none.")
    try:
        model.first_stage.latent_shape(*task.canvas(size))
    except ConfigError as e:
        raise ConfigError("task", "a canvas that the first stage takes", task.canvas(size), e.expected) from None
