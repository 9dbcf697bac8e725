"""The jobs of a sweep as a contrast sees them: its arms, their trainings, and what is one replicate.

A replicate is a distinct training, never a set of samples: scores of one training (several sets of samples, several
values of axes that the claim does not name) are averaged first, and so are trainings that stand on one of another kind
where there are several of that: three diffusion models of each of three first stages are three replicates, not nine.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablatent.claims.claim import Contrast, is_seed, same_value, values_of
from ablatent.core.values import axis_value, get

Interval = tuple[float, float]
FEWEST = 3
"""Trainings an arm that a claim should have."""
UNKNOWN = object()
"""The value of an axis that nothing says."""
Replicate = tuple[str, ...]
"""The values of the seeds that decide a training, in one spelling."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One job, and its score of one metric.

    axes: those of the sweep → value; typed: its further overrides; config: its configuration; trainings: kind → key of
    the trained stages that the score stands on; unit: the kind of those that are replicates; value: None where there is
    none, and then `missing` says why; interval: over the samples of the one training, 95 %.
    """

    name: str
    axes: Mapping[str, Any]
    typed: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    trainings: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    value: float | None = None
    interval: Interval | None = None
    missing: str = ""

    @property
    def training(self) -> str:
        """The key of the training that is a replicate; empty where there is none, as of imported weights."""
        return self.trainings.get(self.unit, "")

    def setting(self, axis: str) -> Any:
        """The value that it has of an axis, also of one that does not vary in its sweep; UNKNOWN where it has no such
        key, or where that is a whole group, of which the configuration does not have the name."""
        if axis in self.axes:
            return self.axes[axis]
        if axis in self.typed:
            return axis_value(self.typed[axis])
        above, _, name = axis.rpartition(".")
        node = get(self.config, above) if above else self.config
        value = node[name] if isinstance(node, Mapping) and name in node else UNKNOWN
        return UNKNOWN if isinstance(value, Mapping | list) else value

    def has(self, wanted: Mapping[str, Sequence[Any]]) -> bool:
        """Whether it has one of the values of each axis."""
        for axis, values in wanted.items():
            mine = self.setting(axis)
            if not any(same_value(mine, value) for value in values):
                return False
        return True


@dataclass(frozen=True)
class Arms:
    """The jobs of both arms of a contrast. nobody: what no job of the sweep is, empty where both arms have some."""

    of: Sequence[Observation]
    against: Sequence[Observation]
    nobody: str = ""

    @property
    def both(self) -> list[Observation]:
        """All of them."""
        return [*self.of, *self.against]

    @property
    def unit(self) -> str:
        """The kind of stage whose trainings a claim counts; empty where there are none."""
        return next((job.unit for job in self.both if job.unit), "")


def arms_of(contrast: Contrast, jobs: Sequence[Observation], others: Sequence[Observation] | None = None) -> Arms:
    """The jobs of a sweep that a contrast compares. others: the same jobs with the score of `against_metric`."""
    known = (jobs, jobs if others is None else others)
    wanted = [{**contrast.at, **arm} for arm in (contrast.of, contrast.against)]
    meant = [{axis: [*map(axis_value, values_of(values))] for axis, values in arm.items()} for arm in wanted]
    of, against = ([job for job in side if job.has(arm)] for side, arm in zip(known, meant, strict=True))
    empty = [shown(arm) for arm, side in zip(wanted, (of, against), strict=True) if not side]
    if not empty:
        return Arms(of, against)
    axes = dict.fromkeys(axis for arm, side in zip(wanted, (of, against), strict=True) if not side for axis in arm)
    unknown = [axis for axis in axes if jobs and all(job.setting(axis) is UNKNOWN for job in jobs)]
    why = f" ({', '.join(unknown)}: neither an axis, nor typed)" if unknown else ""
    return Arms(of, against, nobody=f"no job of the sweep has {' or '.join(empty)}{why}")


def shown(wanted: Mapping[str, Any]) -> str:
    """The values of axes as a person reads them: 'axis=value axis=a,b'."""
    return " ".join(f"{axis}={','.join(map(_text, values_of(values)))}" for axis, values in wanted.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def replicate_kind(arms: Arms) -> str:
    """The kind of stage whose trainings are replicates: the unit of the claim; or, where several trainings of that
    stand on one of another kind, of which each arm has more than one, the other kind: they are not independent."""
    groups: dict[tuple[int, str], list[Observation]] = {}
    for side, arm in enumerate((arms.of, arms.against)):
        for job in (job for job in arm if job.training):
            setting = {axis: value for axis, value in job.axes.items() if not is_seed(axis)}
            groups.setdefault((side, json.dumps(setting, sort_keys=True, default=str)), []).append(job)
    several: dict[str, int] = {}
    for kind in sorted({kind for jobs in groups.values() for job in jobs for kind in job.trainings}):
        below = [{(job.training, job.trainings.get(kind, "")) for job in jobs} for jobs in groups.values()]
        counts = [len({key for _, key in pairs}) for pairs in below]
        units = [len({training for training, _ in pairs}) for pairs in below]
        shared = any(n < unit == len(pairs) for n, unit, pairs in zip(counts, units, below, strict=True))
        if shared and min(counts) > 1:
            several[kind] = min(counts)
    return min(several, key=lambda kind: several[kind], default=arms.unit)


def deciding_seeds(arms: Arms, contrast: Contrast) -> list[str]:
    """The seed axes that tell trainings apart: each training has one value of them.

    An axis of which one training has several, such as `samples.seed`, makes sets of samples. Jobs that have no stages,
    since they were refused, tell nothing.
    """
    axes = list(dict.fromkeys(a for job in arms.both for a in job.axes if is_seed(a)))
    kind = replicate_kind(arms)
    values: dict[tuple[str, str], set[str]] = {}
    for job in arms.both:
        for axis in axes if job.trainings or not job.missing else ():
            values.setdefault((axis, job.trainings.get(kind, "")), set()).add(json.dumps(job.axes.get(axis)))
    return [axis for axis in axes if all(len(of) == 1 for (name, _), of in values.items() if name == axis)]


def block_of(job: Observation, contrast: Contrast) -> str:
    """The setting of the plain axes that a contrast does not name, in one spelling: jobs are compared within it."""
    rest = {axis: value for axis, value in job.axes.items() if not is_seed(axis) and axis not in contrast.axes}
    return json.dumps(rest, sort_keys=True, default=str)


@dataclass(frozen=True)
class Cells:
    """The scores of one arm: (block, replicate) → their mean, over distinct trainings of means over each.

    block: see `block_of`; replicates: all that were planned.
    """

    values: Mapping[tuple[str, Replicate], float]
    replicates: Collection[Replicate]

    @property
    def blocks(self) -> set[str]:
        """Those in which something was measured."""
        return {block for block, _ in self.values}


def cells_of(arm: Sequence[Observation], contrast: Contrast, seeds: Sequence[str]) -> Cells:
    """The scores of one arm by block and replicate. seeds: the axes that decide a replicate."""
    found: dict[tuple[str, Replicate], dict[str, list[float]]] = {}
    planned: dict[Replicate, None] = {}
    for job in arm:
        replicate = tuple(json.dumps(job.axes.get(axis)) for axis in seeds)
        planned[replicate] = None
        if job.value is not None:
            place = block_of(job, contrast), replicate
            found.setdefault(place, {}).setdefault(job.training, []).append(job.value)
    means = {place: _mean([_mean(values) for values in trainings.values()]) for place, trainings in found.items()}
    return Cells(means, list(planned))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def counted_trainings(arm: Iterable[Observation]) -> dict[str, int]:
    """Kind → distinct trainings of it that the measured scores of an arm stand on."""
    keys: dict[str, set[str]] = {}
    for job in arm:
        if job.value is not None:
            for kind, key in job.trainings.items():
                keys.setdefault(kind, set()).add(key)
    return {kind: len(of) for kind, of in keys.items()}
