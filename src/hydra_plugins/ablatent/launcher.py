"""Hydra's launcher under -m: all jobs are planned as one graph, so that shared stages are built once."""

import copy
import gc
import importlib
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from ablatent.sweep.plan import Composed

# Number of jobs from which composing is shared among processes: a job takes a third of a second.
SHARED_FROM = 4


class ParsedOnce:
    """A config repository that reads each file once for all jobs of a sweep: reading is most of composing."""

    def __init__(self, repository: Any):
        self.repository = repository
        self.parsed: dict[str, Any] = {}

    def load_config(self, config_path: str) -> Any:
        """A copy of the parsed file; see Hydra's `IConfigRepository.load_config`."""
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

    tells = True  # for the sweeper

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # Hydra imports every plugin module at each start: what is heavy is imported here.
        from ablatent.cli.main import command_line, finish
        from ablatent.core.escape import for_console
        from ablatent.core.progress import console

        try:
            jobs = self._compose([list(overrides) for overrides in job_overrides])
        except HydraException as e:
            console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
            sys.exit(2)
        code = finish(jobs, command_line())
        if code:
            # Hydra would raise only the first failure; the table of failures was printed already.
            sys.exit(code)
        sweep_dir = str(Path(self.config.hydra.sweep.dir))
        return [
            JobReturn(overrides=job.overrides, working_dir=sweep_dir, _return_value=0, status=JobStatus.COMPLETED)
            for job in jobs
        ]

    def _compose(self, job_overrides: list[list[str]]) -> "list[Composed]":
        """Each job's configuration; HydraException for one that Hydra cannot compose."""
        loader: Any = self.hydra_context.config_loader
        loader.repository = ParsedOnce(loader.repository)
        if len(job_overrides) < SHARED_FROM:
            return [compose_job(loader, self.config, overrides) for overrides in job_overrides]
        _shared.update(loader=loader, config=self.config)
        workers = min(max(1, (os.cpu_count() or 1) - 1), len(job_overrides))  # one processor is left for the import
        with _without_collector(), ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
            jobs = pool.map(_compose_shared, job_overrides, chunksize=-(-len(job_overrides) // (2 * workers)))
            importlib.import_module("torch")  # for the checks of the plan, which follow: three seconds, spent meanwhile
            return list(jobs)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's search for circular garbage rests, also in forked processes: much is made here, and nothing dropped."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


_shared: dict[str, Any] = {}


def _compose_shared(overrides: list[str]) -> "Composed":
    """In a forked process, which has the loader."""
    return compose_job(_shared["loader"], _shared["config"], overrides)


def compose_job(loader: Any, config: DictConfig, overrides: list[str]) -> "Composed":
    """What Hydra makes of one job's overrides, in plain values."""
    from ablatent.cli.main import composed

    cfg = loader.load_sweep_config(config, overrides)
    with open_dict(cfg):
        del cfg["hydra"]
    return composed(overrides, cfg)
