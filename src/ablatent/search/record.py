"""The record of a search, store/searches/NAME/search.json: all that its report needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablatent.report.metrics import ARROW
from ablatent.search.pareto import front
from ablatent.store.identity import SearchName, SweepId
from ablatent.store.records import Record

if TYPE_CHECKING:
    from ablatent.search.base import Beginning, Search
    from ablatent.search.space import Space

FINISHED, FAILED, PRUNED, STOPPED, RUNNING = "finished", "failed", "pruned", "stopped", "running"
"""States of a trial. stopped: it was at work when its command was killed, and was tried again."""


@dataclass(frozen=True)
class TrialRecord(Record):
    """A trial. parameters: key → value as typed; values: of the objectives, empty unless it finished; sweep, job: where
    it was built, None for a trial that no sweep recorded; reason: why it did not finish."""

    number: int
    state: str
    parameters: Mapping[str, str]
    values: list[float]
    sweep: SweepId | None
    job: int | None
    reason: str


@dataclass(frozen=True)
class Objective(Record):
    """What a search looks at. name: of a score, or of a cost; better: "lower" or "higher"."""

    name: str
    better: str

    @property
    def title(self) -> str:
        """The name with an arrow in the direction that is better."""
        return self.name + ARROW[self.better]


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """A search so far.

    search: the class of its sweeper; space: key → values as typed; fixed: overrides of all trials; importance:
    objective → key → share of the variance that the key explains, empty where nothing was estimated; pruning: what was
    pruned, in words.
    """

    name: SearchName
    search: str
    command: str
    n_trials: int
    seed: int
    space: Mapping[str, str]
    fixed: list[str]
    objectives: list[Objective]
    trials: list[TrialRecord]
    importance: Mapping[str, Mapping[str, float]]
    pruning: str

    @classmethod
    def of(
        cls,
        search: Search,
        space: Space,
        beginning: Beginning,
        command: str,
        trials: Sequence[TrialRecord],
        importance: Mapping[str, Mapping[str, float]] | None = None,
        pruning: str = "",
    ) -> SearchRecord:
        """The record of a search with these trials."""
        return cls(
            name=beginning.name,
            search=type(search).__name__,
            command=command,
            n_trials=search.n_trials,
            seed=search.seed,
            space={d.key: d.typed for d in space.dimensions},
            fixed=list(space.fixed),
            objectives=beginning.objectives,
            trials=list(trials),
            importance=importance or {},
            pruning=pruning,
        )

    def in_state(self, state: str) -> list[TrialRecord]:
        """The trials in a state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def best(self) -> list[TrialRecord]:
        """The finished trials that no other one surpasses: the best ones, or the Pareto front of several objectives."""
        finished = self.in_state(FINISHED)
        return [finished[n] for n in front([t.values for t in finished], [o.better for o in self.objectives])]
