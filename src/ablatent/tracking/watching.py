"""Watching curves while they are measured, whatever the tracker: who watches a training may end it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import SupportsFloat

Watcher = Callable[[str, int, Mapping[str, SupportsFloat]], None]
"""(name of the run, of a stage its key; step; values by name). What it raises ends the build: nothing is published."""

_watchers: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """A block in which the watcher sees what all runs of this process log."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def tell(run: str, step: int, values: Mapping[str, SupportsFloat]) -> None:
    """Show the watchers what a run logs. Raises what they raise."""
    for watcher in _watchers:
        watcher(run, step, values)
