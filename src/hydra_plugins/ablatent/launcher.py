"""Hydra's launcher under -m: all jobs are planned as one graph, so that shared stages are built once."""

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class ParsedOnce:
    """A config repository that reads each file once for all jobs of a sweep: reading is most of composing."""

    def __init__(self, repository: Any):
        self.repository = repository
        self.parsed: dict[str, Any] = {}

    def load_config(self, config_path: str) -> Any:
        if config_path not in self.parsed:
            self.parsed[config_path] = self.repository.load_config(config_path=config_path)
        return copy.deepcopy(self.parsed[config_path])

    def __deepcopy__(self, memo: Any) -> "ParsedOnce":
        # Hydra copies the repository for each composition; the sources are the same for all jobs.
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)


class AblatentLauncher(Launcher):
    """Composes every job and hands them over together. A failed job does not stop the others; the exit code tells."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # Hydra imports every plugin module at each start: what is heavy is imported here.
        from ablatent.app.cli import finish
        from ablatent.core.progress import console

        loader: Any = self.hydra_context.config_loader
        loader.repository = ParsedOnce(loader.repository)
        jobs: list[tuple[list[str], Any]] = []
        for overrides in job_overrides:
            try:
                cfg = loader.load_sweep_config(self.config, list(overrides))
            except HydraException as e:
                console.print(f"[red]error[/] job {' '.join(overrides)}: {e}", soft_wrap=True)
                sys.exit(2)
            with open_dict(cfg):
                del cfg["hydra"]
            jobs.append((list(overrides), cfg))
        code = finish(jobs)
        if code:
            # Hydra would raise only the first failure; the table of failures was printed already.
            sys.exit(code)
        sweep_dir = str(Path(self.config.hydra.sweep.dir))
        return [
            JobReturn(overrides=o, cfg=c, working_dir=sweep_dir, _return_value=0, status=JobStatus.COMPLETED)
            for o, c in jobs
        ]
