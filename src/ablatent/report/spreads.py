"""How a score spreads over trainings, over samples, and by the metric itself: three numbers, never one."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablatent.report.model import JobResult, StoredScore, Sweep
from ablatent.stages.replicates import unit_of

KINDS = ("trainings", "samples", "metric")
"""What a score spreads over, in the order of columns."""


@dataclass(frozen=True)
class Spreads:
    """A score of some jobs that differ in seeds alone, or of one.

    value: mean over distinct trainings of the mean over the sets of samples of each. trainings: sample deviation of
    these means; samples: deviation over the sets of samples of one training, pooled over trainings, or where each has
    one set half of its 95 % interval (of_sets tells which); metric: mean of the metric's own. None where there is none.
    interval: over samples, of a single score that has one. means: one for each distinct training.
    """

    value: float
    trainings: float | None = None
    samples: float | None = None
    metric: float | None = None
    of_sets: bool = False
    interval: tuple[float, float] | None = None
    means: tuple[float, ...] = ()

    @property
    def count(self) -> int:
        """Distinct trainings."""
        return len(self.means)

    def over(self, kind: str) -> float | None:
        """The spread of one of KINDS."""
        return {"trainings": self.trainings, "samples": self.samples, "metric": self.metric}[kind]


def trainings_under(sweep: Sweep, job: JobResult, keys: Iterable[str]) -> dict[str, str]:
    """Kind → key of a job's trained stages that the stages of these keys stand on."""
    below = sweep.closure(keys)
    return {
        sweep.objects[key].kind: key
        for key in job.stages.values()
        if key in below and key in sweep.objects and sweep.objects[key].planned.trained
    }


def training_of(sweep: Sweep, job: JobResult, score: StoredScore) -> str:
    """The key of the training that a score is a replicate of; empty where it stands on none."""
    found = trainings_under(sweep, job, [score.stage])
    return found.get(unit_of(found, None), "")


def spreads_of(sweep: Sweep, jobs: Sequence[JobResult], metric: str) -> Spreads | None:
    """A score over the jobs of one setting; None where none has it. Jobs that share what left it count once."""
    sets: dict[str, dict[str, StoredScore]] = {}
    for job in jobs:
        if (score := job.scores.get(metric)) is not None:
            sets.setdefault(training_of(sweep, job, score), {}).setdefault(score.stage, score)
    if not sets:
        return None
    scores = [score for of in sets.values() for score in of.values()]
    means = [statistics.fmean(score.value for score in of.values()) for of in sets.values()]
    within = [statistics.variance(s.value for s in of.values()) for of in sets.values() if len(of) > 1]
    halves = [half for score in scores if (half := half_interval(score)) is not None]
    own = [score.std for score in scores if score.std is not None and "spread" not in score.protocol]
    return Spreads(
        value=statistics.fmean(means),
        trainings=statistics.stdev(means) if len(means) > 1 else None,
        samples=math.sqrt(statistics.fmean(within)) if within else statistics.fmean(halves) if halves else None,
        metric=statistics.fmean(own) if own else None,
        of_sets=bool(within),
        interval=scores[0].interval if len(scores) == 1 else None,
        means=tuple(means),
    )


def half_interval(score: StoredScore) -> float | None:
    """Half of the 95 % interval over the samples of one training: of its own, or of a share whose `std` is that."""
    if score.interval is not None:
        return (score.interval[1] - score.interval[0]) / 2
    return score.std if "spread" in score.protocol else None
