"""Hydra's sweeper of searches: the points of a space in place of a grid (docs/search.md)."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.ablatent.sweeper import Telling


class SearchSweeper(Sweeper):
    """Hands the command line to a search.

    search: its class; params: of the space, beside what is typed; options: the keys of the search's own.
    """

    def __init__(self, search: str, params: Mapping[str, Any] | None, **options: Any):
        self.node, self.params = {"_target_": search, **options}, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.master = hydra_context.config_loader, config
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launched = 0

    def sweep(self, arguments: list[str]) -> Any:
        # Hydra imports every plugin module at each start: what is heavy is imported here.
        from ablatent.cli.searching import search

        typed = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        here = getattr(self.launcher, "tells", False)
        code = search(self.node, typed, self.loader, self.master, self._launch, here)
        if code:
            sys.exit(code)
        return []

    def _launch(self, jobs: Sequence[Sequence[str]]) -> int:
        """Hand jobs over together; 0, or an exit code where one failed."""
        begun, self.launched = self.launched, self.launched + len(jobs)
        if getattr(self.launcher, "tells", False):
            return int(self.launcher.run(jobs))
        telling = Telling(self.launcher)
        telling.launch(jobs, begun)
        return int(telling.failed)
