"""Hydra's basic sweeper, for this package's launcher and for those that run one job after the other, or in parallel."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AblatentSweeper(BasicSweeper):
    """A grid over all swept overrides.

    Hydra's own writes multirun.yaml into the store, which may be one that can only be read; plan.json has all of it.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        # This package's launcher composes every job, refuses wrong ones and tells the end of each.
        self.telling = None if getattr(self.launcher, "tells", False) else Telling(self.launcher)
        self.launcher = self.telling or self.launcher

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every job; exit code 1 where one failed: Hydra would stop at the first batch with a failed one."""
        context: Any = self.hydra_context
        launcher: Any = self.launcher
        parser = OverridesParser.create(config_loader=context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        returns: list[Sequence[Any]] = []
        begun = 0
        for batch in self.split_arguments(overrides, self.max_batch_size):
            if self.telling is not None:  # the others compose them
                self.validate_batch_is_legal(batch)
            returns.append(launcher.launch(batch, initial_job_idx=begun))
            begun += len(batch)
            for job in returns[-1]:
                _ = job.return_value  # raises its error
        if self.telling is not None and self.telling.failed:
            sys.exit(1)
        return returns


class Telling(Launcher):
    """Another launcher, with a line for the end of each of its jobs; failed: whether a job of it failed so far."""

    def __init__(self, launcher: Any):
        self.launcher, self.failed = launcher, False

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The launcher was set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # Hydra imports every plugin module at each start: what is heavy is imported here.
        from ablatent.cli.main import tell_job

        shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
        returns = self.launcher.launch(job_overrides, initial_job_idx)
        for index, (overrides, done) in enumerate(zip(job_overrides, returns, strict=True), initial_job_idx):
            tell_job(f"{index} {' '.join(o for o in overrides if o not in shared)}", done)
        completed = [done for done in returns if done.status is JobStatus.COMPLETED]
        self.failed |= len(completed) < len(returns)
        return completed
