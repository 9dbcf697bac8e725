"""The record of a search, store/searches/NAME/search.json: all that its report needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from ablatent.report.metrics import ARROW
from ablatent.search.pareto import front
from ablatent.store.identity import SearchName, SweepId
from ablatent.store.record import Record

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

    def in_state(self, state: str) -> list[TrialRecord]:
        """The trials in a state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def best(self) -> list[TrialRecord]:
        """The finished trials that no other one surpasses: the best ones, or the Pareto front of several objectives."""
        finished = self.in_state(FINISHED)
        return [finished[n] for n in front([t.values for t in finished], [o.better for o in self.objectives])]
