"""What an engine that runs builds offers: it starts one, says when it is over, and can end it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablatent.stages.stage import Stage
from ablatent.store.identity import Key


@dataclass(frozen=True)
class Build:
    """A build that is handed to a worker. attempt: 1 for the first; spec, end, beat, log: its files."""

    stage: Stage
    attempt: int
    spec: Path
    end: Path
    beat: Path
    log: Path


@dataclass(frozen=True)
class Over:
    """That a worker has left a build. reason: what ended it, where it wrote no outcome; again: whether another one may
    try."""

    key: Key
    reason: str = ""
    again: bool = True


class Workers(ABC):
    """An engine that runs builds."""

    @abstractmethod
    def room(self, stage: Stage) -> bool:
        """Whether a stage could be started now."""

    @abstractmethod
    def start(self, build: Build) -> str:
        """Have a build built; where, for people. Raises AblatentError where the engine cannot do that."""

    def where(self, key: Key) -> str | None:
        """Where a build that was started is now, where that was not known then; None for nothing new."""
        return None

    def waits(self, key: Key) -> bool:
        """Whether nothing of a build runs now, in an engine with a queue, so that it can give no sign of life."""
        return False

    @abstractmethod
    def over(self, timeout: float) -> Iterator[Over]:
        """The builds that ended since the last call; waits for one up to `timeout` seconds."""

    @abstractmethod
    def kill(self, key: Key) -> None:
        """End the worker of a build, which is over then."""

    @abstractmethod
    def stop(self, timeout: float) -> None:
        """Have all workers leave their checkpoints and end, within so many seconds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all workers, which have nothing to do."""
