"""Designs: points of a space that are chosen before anything is measured, and handed over together."""

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from ablatent.core.progress import console, counted
from ablatent.search.base import Jobs, Search
from ablatent.search.report import show
from ablatent.search.results import Batch
from ablatent.search.space import Point, Space


@dataclass(frozen=True, kw_only=True)
class Design(Search):
    """All points at once. Equal ones become one job."""

    takes_plan = True

    @abstractmethod
    def shares(self, dimensions: int) -> Float64[np.ndarray, "n d"]:
        """n_trials rows of numbers in [0, 1), one for each dimension."""

    def points(self, space: Space) -> list[Point]:
        """The distinct points, in order."""
        points = [space.at(row) for row in self.shares(len(space.dimensions)).tolist()]
        return list({tuple(point.items()): point for point in points}.values())

    def run(self, space: Space, jobs: Jobs) -> int:
        points = self.points(space)
        if len(points) < self.n_trials:
            console.print(f"{len(points)} of {counted(self.n_trials, 'point')} differ from each other")
        batch = [space.overrides(point) for point in points]
        if self.plans(jobs, space) or not self.objectives:  # the report of the sweep has all there is
            return jobs.launch(batch)
        beginning = self.begin(space, jobs)
        launched = Batch(beginning.store.root)
        code = jobs.launch(batch)
        trials = [
            launched.outcome(overrides, beginning.objectives)
            .explained(partial(jobs.refusal, overrides))
            .trial(number, point)
            for number, (overrides, point) in enumerate(zip(batch, points, strict=True))
        ]
        show(beginning.store.root, self.record(space, beginning, jobs, trials))
        return code


@dataclass(frozen=True, kw_only=True)
class SobolDesign(Design):
    """The first points of a scrambled Sobol sequence (Owen 1998): even in all low-dimensional projections. The balance
    is that of a net where their number is a power of two."""

    def shares(self, dimensions: int) -> Float64[np.ndarray, "n d"]:
        from scipy.stats import qmc  # a third of a second

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on other numbers than powers of two
            found: np.ndarray = qmc.Sobol(dimensions, scramble=True, rng=self.seed).random(self.n_trials)
        return found


@dataclass(frozen=True, kw_only=True)
class RandomDesign(Design):
    """Independent points, uniform over each dimension."""

    def shares(self, dimensions: int) -> Float64[np.ndarray, "n d"]:
        return np.random.default_rng(self.seed).random((self.n_trials, dimensions))
