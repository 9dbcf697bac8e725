"""Checks of the whole configuration before anything is trained: every kind checks its part of every job."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.instantiate import make
from ablatent.core.values import without
from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.check_helpers import construct, one_thread
from ablatent.stages.context import resolve_device
from ablatent.stages.kind_base import Check, Config, StageKind
from ablatent.stages.stage import Stage
from ablatent.store.identity import digest
from ablatent.sweep.executor import Executor
from ablatent.sweep.plan import Job, Plan
from ablatent.tracking.base import Tracking


@dataclass
class Checker:
    """Runs checks and remembers their outcomes, so that a sweep of many jobs checks each distinct part once.

    outcomes: name and digest of a check → the error that it raised, or None.
    """

    outcomes: dict[str, Exception | None] = field(default_factory=dict)

    def job(self, job: Job, found: Callable[[Stage], bool]) -> None:
        """Raise the first error of a job: of its stages' kinds, then of its runtime and its tracking.

        found: whether a stage is in the store already.
        """
        kinds = {kind.name: kind for kind in kinds_of(job.config)}
        for kind in kinds.values():
            if any(stage.kind == kind.name for stage in job.stages.values()):
                for check in kind.checks(job.config):
                    self.once(check)
        for check in _runtime_checks(job.config):
            self.once(check)
        for stage in job.stages.values():
            if not found(stage):
                check_batch(stage, kinds[stage.kind], job.config["runtime"])

    def once(self, check: Check) -> None:
        """Run a check, unless one of that name and values, seeds apart, was run before, and raise its error."""
        key = f"{check.name}-{digest(without(check.what, 'seed'))}"
        if key not in self.outcomes:
            try:
                check.run()
                self.outcomes[key] = None
            except Exception as e:
                self.outcomes[key] = e
        if (error := self.outcomes[key]) is not None:
            raise error


def check_plan(plan: Plan, found: Callable[[Stage], bool] = lambda stage: False) -> None:
    """Refuse every job whose configuration cannot run; job.refused is then the reason.

    found: whether a stage is in the store already, so that nothing is trained for it.
    """
    checker = Checker()
    for job in plan.jobs:
        if job.refused is None:
            try:
                with one_thread():
                    checker.job(job, found)
            except AblatentError as e:
                job.refused, job.stages = str(e), {}


def _runtime_checks(config: Config) -> Iterator[Check]:
    names = ("runtime", "executor")
    yield Check("runtime", {name: config[name] for name in names}, lambda: check_runtime(*(config[n] for n in names)))
    yield Check("tracking", config["tracking"], lambda: construct("tracking", config["tracking"], Tracking))


def check_runtime(runtime: Config, executor: Config) -> None:
    """Raise ConfigError for a device, or a number of devices, that this machine does not have, where stages are built
    on it."""
    import torch

    if not make(executor, Executor).builds_here:
        return

    gpu, there = resolve_device(runtime["device"]) == "gpu", torch.cuda.device_count()
    if gpu and not torch.cuda.is_available():
        raise ConfigError("runtime.device", "cpu or auto where torch sees no GPU", "gpu", "Use runtime=cpu.")
    if gpu and runtime["devices"] > there:
        raise ConfigError("runtime.devices", f"up to {there}, the GPUs of this machine", runtime["devices"])


def check_batch(stage: Stage, kind: StageKind, runtime: Config) -> None:
    """Raise ConfigError unless a training's batch splits into equal parts, one for each device and micro-batch."""
    parts = runtime["devices"] * runtime["grad_accum_steps"]
    if kind.training_key and "training" in stage.config and stage.config["training"]["batch_size"] % parts:
        raise ConfigError(
            f"{kind.training_key}.batch_size",
            f"a multiple of runtime.devices * runtime.grad_accum_steps = {parts}",
            stage.config["training"]["batch_size"],
            "It is the size of the whole batch, whatever the number of devices.",
        )
