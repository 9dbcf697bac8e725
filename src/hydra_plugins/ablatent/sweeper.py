"""Hydra's basic sweeper without its trial composition: the launcher composes every job, and refuses wrong ones."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class AblatentSweeper(BasicSweeper):
    """A grid over all swept overrides. Composing each job twice would double the time to a plan."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Left to the launcher."""
