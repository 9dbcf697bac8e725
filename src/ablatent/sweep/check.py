"""The whole configuration is known to be good before anything is trained: every object is made, big ones on meta.

Costs an import of torch and some milliseconds per distinct part; Lightning and friends stay out.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ablatent.conditioning.source import Source
from ablatent.core.errors import AblatentError, ConfigError, did_you_mean
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.stages.check_task import check_captions, check_model, check_prompts
from ablatent.stages.context import resolve_device
from ablatent.stages.graph import TRAINED, Stage, guided_by, judged
from ablatent.stages.models import blank_condition, conditioner_class, make_network, needs_of, shapes_alone
from ablatent.stages.objects import NOT_MODEL, make, make_first_stage
from ablatent.store.identity import digest
from ablatent.sweep.plan import Job, Plan
from ablatent.sweep.rules import check_dropout
from ablatent.training.ema import EMAs

# Arguments that the builders add from neighbouring stages, and node fields that are not constructor arguments.
FILLED = {"network": 5, "timestep_sampler": 1}
BESIDE = {"first_stage": NOT_MODEL}


LEARNING = ("schedule", "parameterization", "weighting", "timestep_sampler", "optimizer")

# A network of fewer parameters is tried for real: quicker than the meta device, for which torch imports its compiler.
SMALL = 30_000_000


@dataclass
class Checker:
    """Remembers what was checked, so that a sweep of a hundred jobs checks each distinct part once."""

    done: dict[str, Exception | None] = field(default_factory=dict)

    def job(self, job: Job) -> None:
        """Raise the first error of a job's configuration."""
        cfg = job.config
        shapes = {k: cfg[k] for k in ("first_stage", "network", "conditioner", "data", "diffusion")}
        self._once("shapes", shapes, lambda: check_shapes(cfg))
        learning = {k: cfg[k] for k in (*LEARNING, "training", "diffusion")}
        self._once("learning", learning, lambda: check_learning(cfg))
        sampling = {k: cfg[k] for k in ("sampler", "guidance", "task", "schedule", "conditioner", "samples")}
        self._once("sampling", sampling, lambda: check_sampling(cfg))
        task = {k: cfg[k] for k in ("first_stage", "network", "conditioner", "data", "task")}
        self._once("task", task, lambda: check_model(cfg, classes_of(cfg)))
        if guided_by(cfg) == "ClassifierGuidance":
            parts = {k: cfg[k] for k in ("classifier", "first_stage", "data")}
            self._once("classifier", parts, lambda: check_classifier(cfg))
        if judged(cfg):
            from ablatent.stages.judges import check_judge  # which stands on this module

            parts = {k: cfg[k] for k in ("judge", "conditioner", "data", "guidance")}
            self._once("judge", parts, lambda: check_judge(cfg))
        check_captions(cfg)  # before weights are looked for, which may be large
        self._once("evaluation", cfg["evaluation"], lambda: check_evaluation(cfg["evaluation"]))
        self._once("runtime", cfg["runtime"], lambda: check_runtime(cfg["runtime"]))
        self._once("tracking", cfg["tracking"], lambda: _made("tracking", cfg["tracking"]))

    def _once(self, name: str, what: Any, check: Any) -> None:
        key = f"{name}-{digest(what)}"
        if key not in self.done:
            try:
                check()
                self.done[key] = None
            except Exception as e:
                self.done[key] = e
        if (error := self.done[key]) is not None:
            raise error


def check_plan(plan: Plan, found: Callable[[Stage], bool] = lambda stage: False) -> None:
    """Refuse every job whose configuration cannot run; the reason goes into job.refused. found: which stages are there
    already, so that nothing is trained for them."""
    checker = Checker()
    for job in plan.jobs:
        if job.refused is None:
            try:
                checker.job(job)
                for stage in job.stages.values():
                    if not found(stage):
                        check_parts(stage, job.config["runtime"])
            except AblatentError as e:
                job.refused, job.stages = str(e), {}


def check_shapes(cfg: Mapping[str, Any]) -> None:
    """From images to latents to the network's output; the losses of the first stage, and their weights."""
    for group in ("first_stage", "network"):
        check_arguments(group, cfg[group], FILLED.get(group, 0), BESIDE.get(group, ()))
    check_conditioner("conditioner", cfg["conditioner"])
    size, learned = int(cfg["data"]["size"]), bool(cfg["diffusion"]["learned_variance"])
    classes, segments = classes_of(cfg)
    with torch.device("meta"):
        model = _explained("first_stage", lambda: make_first_stage(cfg["first_stage"]))
        shape = model.latent_shape(size, size)
        setting = shapes_alone(shape, size, classes, segments)
        made = _explained("network", lambda: make_network(cfg, setting, learned))
    for weights in _pretrained([cfg["first_stage"], cfg["conditioner"]]):
        weights.check()
    if model.trainable and "loss" in cfg["first_stage"]:  # imported weights come without
        _explained("first_stage.loss", lambda: make(cfg["first_stage"]["loss"]))
    small = sum(p.numel() for part in made for p in part.parameters()) < SMALL
    with torch.device("cpu" if small else "meta"), torch.no_grad():
        network, conditioner = _explained("network", lambda: make_network(cfg, setting, learned))
        cond = _explained("conditioner", lambda: blank_condition(conditioner, 2, setting))
        out = _explained("network", lambda: network(torch.zeros(2, *shape), torch.zeros(2), cond))
    wanted = (shape[0] * (2 if learned else 1), *shape[1:])
    if tuple(out.shape[1:]) != wanted:
        raise ConfigError("network", f"an output of shape {wanted}", tuple(out.shape[1:]))


def check_learning(cfg: Mapping[str, Any]) -> None:
    """Schedule, parameterization, weighting and loss fit together; the optimiser takes its options."""
    for group in LEARNING:
        check_arguments(group, cfg[group], FILLED.get(group, 0))
    schedule = make(cfg["schedule"])
    denoiser = Denoiser(torch.nn.Identity(), schedule, make(cfg["parameterization"]))
    rho, vlb_weight = cfg["training"]["loss"], cfg["diffusion"]["vlb_weight"]
    _explained("weighting", lambda: DiffusionLoss(denoiser, make(cfg["weighting"]), rho, vlb_weight))
    _explained("training.ema", lambda: EMAs(**cfg["training"]["ema"]))
    _explained("timestep_sampler", lambda: make(cfg["timestep_sampler"], T=schedule.T))


def check_conditioner(path: str, config: Mapping[str, Any]) -> None:
    """The arguments of a conditioner node and of its parts."""
    if "parts" not in config:
        check_arguments(path, config, len(conditioner_class(config).filled))
        return
    if "parts" not in inspect.signature(kind := conditioner_class(config)).parameters:
        do = "Parts belong to conditioner=hybrid: choose that too."
        raise ConfigError(f"{path}.parts", f"no parts with {kind.__name__}", ", ".join(config["parts"]), do)
    check_options(path, config, kind)
    for name, part in config["parts"].items():
        check_conditioner(f"{path}.parts.{name}", part)


def classes_of(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """The numbers of classes and of segments of a job's data, 0 where its conditioner reads nothing but pictures.

    Raises ConfigError where the data lacks what the conditioner reads.
    """
    needs = needs_of(cfg["conditioner"]) - {"pixels"}
    if not needs:
        return 0, 0
    annotations = make(cfg["data"]).outline()
    Source(1, annotations).check(sorted(needs))
    return len(annotations.classes), len(annotations.segments)


def check_sampling(cfg: Mapping[str, Any]) -> None:
    for group in ("sampler", "guidance", "task"):
        check_arguments(group, cfg[group])
    sampler, schedule = _made("sampler", cfg["sampler"]), make(cfg["schedule"])
    _made("task", cfg["task"]).check(sampler, schedule)
    check_prompts(cfg)
    guidance = _made("guidance", cfg["guidance"])
    if guidance.needs_null:
        check_dropout(cfg)


def check_classifier(cfg: Mapping[str, Any]) -> None:
    """The classifier of noisy latents that guidance asks for: labels, arguments, and shapes from latents to logits."""
    annotations = make(cfg["data"]).outline()
    if annotations.labels is None:
        raise ConfigError(
            "guidance", "data with class labels", f"{cfg['data']['_target_'].rsplit('.', 1)[-1]} without labels",
            "Use guidance=none, or data with classes (data=fashion_mnist, digits, or image_folder with subfolders).",
        )  # fmt: skip
    for part, filled in (("network", 2), ("optimizer", 1)):
        check_arguments(f"classifier.{part}", cfg["classifier"][part], filled)
    size = int(cfg["data"]["size"])

    def network(channels: int) -> torch.nn.Module:
        made: torch.nn.Module = make(
            cfg["classifier"]["network"], in_channels=channels, classes=len(annotations.classes)
        )
        return made

    with torch.device("meta"):
        shape = _explained("first_stage", lambda: make_first_stage(cfg["first_stage"])).latent_shape(size, size)
        count = sum(p.numel() for p in _explained("classifier.network", lambda: network(shape[0])).parameters())
    with torch.device("cpu" if count < SMALL else "meta"), torch.no_grad():
        _explained("classifier.network", lambda: network(shape[0])(torch.zeros(2, *shape), torch.zeros(2)))


def check_evaluation(evaluation: Mapping[str, Any]) -> None:
    """Extractors and metrics can be had; weights are found, not loaded."""
    for name, metric in evaluation["metrics"].items():
        check_arguments(f"evaluation.metrics.{name}", metric)
    with torch.device("meta"):
        for metric in evaluation["metrics"].values():
            made = make(metric)
            made.check()
    for weights in _pretrained(evaluation):
        weights.check()


def check_runtime(runtime: Mapping[str, Any]) -> None:
    if resolve_device(runtime["device"]) == "gpu" and not torch.cuda.is_available():
        raise ConfigError("runtime.device", "cpu or auto where torch sees no GPU", "gpu", "Use runtime=cpu.")
    there = torch.cuda.device_count()
    if resolve_device(runtime["device"]) == "gpu" and runtime["devices"] > there:
        raise ConfigError("runtime.devices", f"up to {there}, the GPUs of this machine", runtime["devices"])


def check_parts(stage: Stage, runtime: Mapping[str, Any]) -> None:
    """A training's batch falls into equal parts, one for each device and micro-batch."""
    parts = runtime["devices"] * runtime["grad_accum_steps"]
    if stage.kind in TRAINED and "training" in stage.config and stage.config["training"]["batch_size"] % parts:
        where = {"diffusion": "training", "noisy_classifier": "classifier.training", "judge": "judge.training"}.get(
            stage.kind, "first_stage.training"
        )
        raise ConfigError(
            f"{where}.batch_size",
            f"a multiple of runtime.devices * runtime.grad_accum_steps = {parts}",
            stage.config["training"]["batch_size"],
            "It is the size of the whole batch, whatever the number of devices.",
        )


def check_arguments(path: str, config: Mapping[str, Any], filled: int = 0, beside: tuple[str, ...] = ()) -> None:
    """Keys of a `_target_` node, and of nodes below it, must be constructor arguments; required ones must be there."""
    target = config.get("_target_")
    if isinstance(target, str):
        try:
            module, _, name = target.rpartition(".")
            made = getattr(importlib.import_module(module), name)
        except Exception as e:
            raise ConfigError(
                f"{path}._target_", "a class that can be imported", target, str(e).splitlines()[0]
            ) from None
        parameters = inspect.signature(made).parameters
        check_options(path, config, made, beside)
        missing = [
            n for n, p in parameters.items() if p.default is p.empty and n not in config and "VAR" not in p.kind.name
        ]
        if len(missing) > filled and path != "optimizer":
            raise ConfigError(path, f"the options {', '.join(missing)} of {target.rsplit('.', 1)[-1]}", "nothing")
    for key, value in config.items():
        if isinstance(value, Mapping):
            check_arguments(f"{path}.{key}", value)


def check_options(path: str, config: Mapping[str, Any], made: Any, beside: tuple[str, ...] = ()) -> None:
    """Keys of a node are constructor arguments of what it makes, or among those that stand beside."""
    parameters = inspect.signature(made).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in config:
        if key not in parameters and key not in beside and not key.startswith("_"):
            expected = f"an option of {made.__name__} ({', '.join(parameters)})"
            raise ConfigError(f"{path}.{key}", expected, config[key], did_you_mean(key, parameters))


def _pretrained(config: Any) -> Iterator[Any]:
    """Every pretrained file or folder that a configuration names."""
    if isinstance(config, Mapping) and str(config.get("_target_", "")).endswith((".PretrainedFile", ".HubFolder")):
        yield make(config)
    elif isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _pretrained(value)


def _made(path: str, config: Mapping[str, Any]) -> Any:
    return _explained(path, lambda: make(config))


def _explained(path: str, build: Any) -> Any:
    """build(), with foreign errors turned into one that names the config key."""
    try:
        return build()
    except AblatentError:
        raise
    except (RuntimeError, ValueError, TypeError) as e:
        raise ConfigError(path, "values that fit together", f"{type(e).__name__}: {str(e).splitlines()[0]}") from None
