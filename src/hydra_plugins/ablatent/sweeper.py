"""Hydra's basic sweeper without its trial composition: the launcher composes every job, and refuses wrong ones."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class AblatentSweeper(BasicSweeper):
    """A grid over all swept overrides, handed over as one batch.

    Hydra's own composes each job twice, and writes multirun.yaml into the store, which may be one that can only be
    read; plan.json has all of it.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every job; raises the error of the first that a launcher returns as failed."""
        context: Any = self.hydra_context
        launcher: Any = self.launcher
        parser = OverridesParser.create(config_loader=context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        returns: list[Sequence[Any]] = []
        for batch in self.split_arguments(overrides, self.max_batch_size):
            returns.append(launcher.launch(batch, initial_job_idx=sum(map(len, returns))))
            for job in returns[-1]:
                _ = job.return_value  # raises its error
        return returns
