"""Stages are built by workers: other processes, here or on other machines. What all such executors share."""

from abc import abstractmethod
from dataclasses import dataclass

from ablatent.core.signals import stoppable
from ablatent.executors.course import STOP_SECONDS, Course, Patience
from ablatent.executors.workers import Workers
from ablatent.sweep.executor import Executor, SweepRun


@dataclass(kw_only=True)
class Pool(Patience, Executor):
    """Base of the executors whose stages are built by workers.

    Stages are begun as soon as their inputs are there, the longest path first. What a worker's death left is tried
    again, with a pause that doubles; an error that the build itself reports is not.
    """

    @abstractmethod
    def workers(self, sweep: SweepRun) -> Workers:
        """The engine for one sweep."""

    def run(self, sweep: SweepRun) -> None:
        workers = self.workers(sweep)
        try:
            with stoppable(STOP_SECONDS):
                Course(self, sweep, workers).run()
        finally:
            workers.close()
