"""Searches on a cheap function in place of jobs: what a search asks, is told, and leaves behind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from ablatent.cli.searching import space_of
from ablatent.search import optuna_search
from ablatent.search.base import Beginning, Jobs
from ablatent.search.optuna_search import OptunaSearch
from ablatent.search.record import FAILED, Objective, SearchRecord
from ablatent.search.results import Batch, Outcome
from ablatent.search.space import Space
from ablatent.store.artifacts import Store
from ablatent.store.identity import SearchName
from ablatent.store.layout import search_folder
from ablatent.sweep.plan import Composed

Measure = Callable[[dict[str, float]], Outcome]


def space(*overrides: str) -> Space:
    return space_of(OverridesParser.create().parse_overrides(list(overrides)))


PLANE = space("x=interval(-1,1)", "y=interval(-1,1)")
NAME = SearchName("plane")


def values_of(overrides: Sequence[str]) -> dict[str, float]:
    """Key → number, of the overrides of a job."""
    return {key: float(value) for key, _, value in (o.partition("=") for o in overrides)}


class OnPlane(OptunaSearch):
    """A search whose objectives need no plan."""

    def begin(self, space: Space, jobs: Jobs) -> Beginning:
        objectives = [Objective(name, "lower") for name in self.objectives]
        about = {"space": {d.key: d.typed for d in space.dimensions}, "objectives": list(self.objectives)}
        return Beginning(Store(FOLDER[-1]), NAME, objectives, about)


FOLDER: list[Path] = []
"""The store of the searches of the running test."""


class Course:
    """Runs searches on a function.

    launches: the batches that were handed over, each a list of overrides. stop_at: number of the batch at which the
    driver ends by `end`, as if it was killed.
    """

    def __init__(self, monkeypatch, folder: Path, measure: Measure):
        FOLDER[:] = [folder]
        self.folder, self.measure = folder, measure
        self.launches: list[list[list[str]]] = []
        self.stop_at: int | None = None
        self.refused: str | None = None  # why a job without a sweep cannot run
        self.end: Callable[[], object] = _interrupt
        course = self

        class Measured(Batch):
            def outcome(self, overrides: Sequence[str], objectives: Sequence[Objective]) -> Outcome:
                return course.measure(values_of(overrides))

        monkeypatch.setattr(optuna_search, "Batch", Measured)

    def launch(self, jobs: list[list[str]]) -> int:
        self.launches.append(jobs)
        if len(self.launches) - 1 == self.stop_at:
            self.end()
        return int(any(self.measure(values_of(job)).state == FAILED for job in jobs))

    def run(self, n_trials: int, objectives: Sequence[str] = ("loss",), over: Space = PLANE, **keys) -> int:
        search = OnPlane(n_trials=n_trials, objectives=list(objectives), **{"batch_size": 2, **keys})
        return search(over, Jobs(lambda overrides: Composed(overrides, {"do": "run"}), self.launch, self.refusal))

    def refusal(self, overrides: list[str]) -> str | None:
        return self.refused

    @property
    def record(self) -> SearchRecord:
        return SearchRecord.read(search_folder(self.folder, NAME) / "search.json")

    @property
    def requested(self) -> list[list[str]]:
        return [job for batch in self.launches for job in batch]


def _interrupt() -> None:
    raise KeyboardInterrupt
