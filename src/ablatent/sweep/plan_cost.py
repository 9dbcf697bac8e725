"""What a plan costs: which stages are found, the expected time of the others, and what they take in all.

Free of torch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from rich.table import Table

from ablatent.core.progress import counted, seconds
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.sweep.expected_time import Expected, ExpectedTime, TimeSource
from ablatent.sweep.plan import Plan, counts
from ablatent.sweep.schedule import ends_after, longest_paths

MARKED = {TimeSource.WORK: "{}", TimeSource.NETWORK: "{}*", TimeSource.TIMED: "{}+", TimeSource.RULE: "~{}"}
"""How an expected time is shown, by where it comes from."""
NOTES = {
    TimeSource.NETWORK: "* as the same network took before, in proportion to its steps, batch size and samples",
    TimeSource.TIMED: "+ by steps that were timed just now",
    TimeSource.RULE: "~ by rule, from the operations of the network; a flat guess where these are not known",
}
"""What these marks mean, below the table."""


def missing_from(store: Store, plan: Plan) -> dict[Key, Stage]:
    """Key → stage of a plan that the store does not have, inputs before what reads them."""
    return {stage.key: stage for stage in plan.stages.values() if not store.folder(stage.key).exists()}


class PlanCost:
    """The stages of a plan that are to be built, with their expected times.

    otherwise: as for `ExpectedTime`; without it such stages are unknown. Each is estimated once.
    """

    def __init__(self, plan: Plan, store: Store, otherwise: Callable[[Stage], Expected | None] = lambda stage: None):
        self.plan = plan
        self.missing = missing_from(store, plan)
        self.expected_time = ExpectedTime(store, plan.stages, otherwise)

    @cached_property
    def expected(self) -> dict[Key, Expected | None]:
        """Key → estimate of each missing stage, None where nothing is known."""
        return {stage.key: self.expected_time(stage) for stage in self.missing.values()}

    def table(self) -> Table:
        """The table of stages by kind: their number, those found, and the expected time of the rest."""
        refused = sum(job.refused is not None for job in self.plan.jobs)
        title = counted(len(self.plan.jobs), "job") + (f", {refused} refused" if refused else "")
        out = Table("stages", "kind", "found", "to build", "expected", title=title, title_justify="left")
        todo: dict[str, list[Expected | None]] = {}
        for stage in self.missing.values():
            todo.setdefault(stage.kind, []).append(self.expected[stage.key])
        for kind, count in counts(self.plan).items():
            times = todo.get(kind, [])
            out.add_row(str(count), kind, str(count - len(times)), str(len(times)), _summed(times))
        sources = {expected.source for expected in self.expected.values() if expected is not None}
        if notes := [note for source, note in NOTES.items() if source in sources]:
            out.caption, out.caption_justify = "\n".join(notes), "left"
        return out

    def summary(self, slots: int) -> Iterator[str]:
        """The line below the table, where all times are known and there is something to build: what the stages take
        one after the other, each once; what they would take if each job built its own; the longest chain of stages
        that read each other; and all of them on so many slots."""
        if not self.missing or None in self.expected.values():
            return
        rough = any(expected.source == TimeSource.RULE for expected in self.expected.values() if expected is not None)
        of_jobs = [{stage.key for stage in job.stages.values()} & self.missing.keys() for job in self.plan.jobs]
        times = {
            "expected in all": sum(map(self._seconds, self.missing.values())),
            "each job for itself": sum(self._seconds(self.missing[key]) for keys in of_jobs for key in keys),
            "longest path": max(longest_paths(self.missing, self._seconds).values()),
        }
        if slots > 1:
            times[f"with executor.slots={slots}"] = ends_after(self.missing, self._seconds, slots)
        yield "; ".join(f"{name}: {'~' if rough else ''}{seconds(time)}" for name, time in times.items())

    def _seconds(self, stage: Stage) -> float:
        expected = self.expected[stage.key]
        return 0.0 if expected is None else expected.seconds


def _summed(times: Sequence[Expected | None]) -> str:
    """The sum of the known times, marked by the least sure of their sources, and how many are unknown."""
    known = [time for time in times if time is not None]
    unknown = len(times) - len(known)
    if not known:
        return "unknown" if unknown else "–"
    total = MARKED[max(time.source for time in known)].format(seconds(sum(time.seconds for time in known)))
    return total + (f" + {unknown} unknown" if unknown else "")
