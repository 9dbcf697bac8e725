"""Which stages of a plan may begin, and which first. Free of torch, processes and files."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ablatent.stages.stage import Stage
from ablatent.store.identity import Key


def longest_paths(stages: Mapping[Key, Stage], seconds: Callable[[Stage], float]) -> dict[Key, float]:
    """key → seconds from the beginning of a stage to the end of the longest chain of stages that begins with it.

    stages: of a plan, inputs before what reads them; seconds: that a stage takes.
    """
    paths = dict.fromkeys(stages, 0.0)
    for key, stage in reversed(list(stages.items())):
        paths[key] += seconds(stage)
        for read in stage.inputs.values():
            if read in paths:
                paths[read] = max(paths[read], paths[key])
    return paths


class Schedule:
    """The stages of a plan, each in turn: ready when its inputs are there, the one with the longest path first.

    stages, seconds: as for `longest_paths`. A stage is taken, then given back, or finished.
    """

    def __init__(self, stages: Mapping[Key, Stage], seconds: Callable[[Stage], float]):
        paths = longest_paths(stages, seconds)
        self.order = {key: (-paths[key], i) for i, key in enumerate(stages)}
        self.readers: dict[Key, list[Key]] = {key: [] for key in stages}
        self.missing: dict[Key, set[Key]] = {}
        for key, stage in stages.items():
            self.missing[key] = {read for read in stage.inputs.values() if read in stages}
            for read in self.missing[key]:
                self.readers[read].append(key)
        self.unfinished = set(stages)
        self.ready: list[tuple[tuple[float, int], Key]] = []
        self._add(key for key, missing in self.missing.items() if not missing)

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            heapq.heappush(self.ready, (self.order[key], key))

    @property
    def done(self) -> bool:
        """Whether every stage is finished."""
        return not self.unfinished

    def take(self) -> Key | None:
        """The ready stage that more waits for than for any other; None where none is ready."""
        return heapq.heappop(self.ready)[1] if self.ready else None

    def give_back(self, key: Key) -> None:
        """A stage that was taken is ready again."""
        self._add([key])

    def finish(self, key: Key) -> None:
        """A stage that was taken is in the store: what waited for it alone is ready."""
        self.unfinished.discard(key)
        for reader in self.readers[key]:
            self.missing[reader].discard(key)
            if not self.missing[reader]:
                self._add([reader])

    def fail(self, key: Key) -> list[Key]:
        """A stage will not be there: all that hangs on it is finished, too; those stages, inputs before readers."""
        self.unfinished.discard(key)
        skipped: dict[Key, None] = {}
        todo = [key]
        while todo:
            for reader in self.readers[todo.pop()]:
                if reader in self.unfinished:
                    self.unfinished.discard(reader)
                    skipped[reader] = None
                    todo.append(reader)
        return sorted(skipped, key=lambda k: self.order[k][1])


def most_at_once(stages: Mapping[Key, Stage]) -> int:
    """How many stages can be built beside each other where all take equally long, at least 1: trainings alone, where
    there are some, since they are what takes long. stages: inputs before what reads them."""
    depths: dict[Key, int] = {}
    for key, stage in stages.items():
        depths[key] = 1 + max((depths[read] for read in stage.inputs.values() if read in depths), default=0)
    trained = [key for key, stage in stages.items() if stage.trained]
    return max(Counter(depths[key] for key in trained or stages).values(), default=1)


def ends_after(stages: Mapping[Key, Stage], seconds: Callable[[Stage], float], slots: int) -> float:
    """Seconds until the last stage ends, where so many are built at once, each as soon as a slot is free, in the order
    of `Schedule`. stages, seconds: as for `longest_paths`."""
    schedule, now = Schedule(stages, seconds), 0.0
    running: list[tuple[float, Key]] = []  # when it ends, and what
    while not schedule.done:
        while len(running) < slots and (key := schedule.take()) is not None:
            heapq.heappush(running, (now + seconds(stages[key]), key))
        now, key = heapq.heappop(running)
        schedule.finish(key)
    return now
