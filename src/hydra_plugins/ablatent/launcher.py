"""Hydra's launcher under -m: all jobs are planned as one graph, so that shared stages are built once."""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from ablatent.cli.composer import Composer
    from ablatent.sweep.plan import Composed

# Numbers of jobs from which composing is shared among processes (a choice of options takes a fifth of a second), and
# among all processors.
SHARED_FROM, MANY = 4, 200


class AblatentLauncher(Launcher):
    """Composes every job and hands them over together. A failed job does not stop the others; the exit code tells."""

    tells = True  # for the sweeper

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if code := self.run(job_overrides):
            # Hydra would raise only the first failure; the table of failures was printed already.
            sys.exit(code)
        sweep_dir = str(Path(self.config.hydra.sweep.dir))
        return [
            JobReturn(overrides=list(job), working_dir=sweep_dir, _return_value=0, status=JobStatus.COMPLETED)
            for job in job_overrides
        ]

    def run(self, job_overrides: Sequence[Sequence[str]]) -> int:
        """Compose all jobs and run the verb on them; the exit code, for a sweeper that goes on after a failure."""
        # Hydra imports every plugin module at each start: what is heavy is imported here.
        from ablatent.cli.main import command_line, finish
        from ablatent.core.escape import for_console
        from ablatent.core.progress import console

        try:
            jobs = self._compose([list(overrides) for overrides in job_overrides])
        except HydraException as e:
            console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
            return 2
        return finish(jobs, command_line())

    def _compose(self, job_overrides: list[list[str]]) -> "list[Composed]":
        """Each job's configuration; HydraException for one that Hydra cannot compose."""
        from ablatent.cli.composer import Composer
        from ablatent.core.collector import rare_collections
        from ablatent.core.here import follow

        composer = Composer(self.hydra_context.config_loader, self.config)
        with rare_collections():
            if len(job_overrides) < SHARED_FROM:
                return [composed_job(composer, overrides) for overrides in job_overrides]
            _shared.append(composer)
            # one processor is left for the import, unless that is over long before the jobs are
            left = 1 if len(job_overrides) < MANY else 0
            workers = min(max(1, (os.cpu_count() or 1) - left), len(job_overrides))
            # forked processes hold the pipes of each other, so the end of this one would not end them
            fork, watch = multiprocessing.get_context("fork"), (os.getpid(),)
            with ProcessPoolExecutor(workers, fork, initializer=follow, initargs=watch) as pool:
                jobs = pool.map(_composed_shared, job_overrides, chunksize=-(-len(job_overrides) // (2 * workers)))
                importlib.import_module("torch")  # for the checks of the plan: two seconds, spent meanwhile
                return list(jobs)


_shared: "list[Composer]" = []
"""The composer that forked processes have."""


def _composed_shared(overrides: list[str]) -> "Composed":
    return composed_job(_shared[-1], overrides)


def composed_job(composer: "Composer", overrides: list[str]) -> "Composed":
    """What one job's overrides make, in plain values."""
    from ablatent.cli.main import composed

    return composed(overrides, composer(overrides))
