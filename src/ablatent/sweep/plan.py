"""The plan of a sweep: the stages of all jobs, each once, and what differs between jobs. Free of torch."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ablatent.core.errors import AblatentError, MissingData
from ablatent.core.values import for_record
from ablatent.data.counts import Counts
from ablatent.stages.graph import stages_of
from ablatent.stages.job_fields import JobCheck
from ablatent.stages.kind_base import Fingerprints
from ablatent.stages.stage import Stage
from ablatent.store.identity import SweepId
from ablatent.store.record import ABSENT
from ablatent.store.records import PlannedJob, PlannedStage, PlanRecord
from ablatent.sweep.combination_rules import apply_rules


@dataclass(frozen=True)
class Composed:
    """One job as Hydra composed it: its overrides and resolved configuration.

    refused: why it could not be resolved, or None. without_data: that is because it does not say where its data is.
    """

    overrides: list[str]
    config: dict[str, Any]
    refused: str | None = None
    without_data: bool = False


CLAIMS = "claims"
"""The key of what all jobs of a sweep are there for: it stands in the plan once."""
Resolve = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a job's configuration to the one with stored stages in it. Raises an AblatentError where there is none."""
CheckStages = Callable[[Mapping[str, Any], Mapping[str, Stage]], None]
"""Of a job's configuration and its stages by role: raises an AblatentError where stored stages do not fit them."""


@dataclass
class Job:
    """One composition of a sweep.

    axes: override → value, of those that differ between jobs; stages: role → stage; counts: what became of the images
    of its data; refused: why it cannot run, or None. without_data: that is because its data is not there.
    """

    index: int
    overrides: list[str]
    config: dict[str, Any]
    axes: dict[str, str] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    counts: Counts | None = None
    refused: str | None = None
    without_data: bool = False

    @property
    def name(self) -> str:
        """'axis=value axis=value', which is unique in the sweep; empty for a single job."""
        return " ".join(f"{k}={v}" for k, v in self.axes.items())


@dataclass
class Plan:
    """The jobs of a sweep, each with its stages or why it was refused."""

    jobs: list[Job]

    @property
    def stages(self) -> dict[str, Stage]:
        """key → stage over all jobs that were not refused, inputs before what reads them."""
        return {stage.key: stage for job in self.jobs for stage in job.stages.values()}

    @property
    def axes(self) -> dict[str, list[str]]:
        """axis → its values, in order of appearance."""
        axes: dict[str, list[str]] = {}
        for job in self.jobs:
            for name, value in job.axes.items():
                if value not in axes.setdefault(name, []):
                    axes[name].append(value)
        return axes

    @property
    def claims(self) -> Mapping[str, Any]:
        """Name → node of the claims that the sweep is to test: those of its first job that was not refused."""
        return next((job.config.get(CLAIMS) or {} for job in self.jobs if job.refused is None), {})

    def record(self, sweep: SweepId, created: str, command: str, verb: str) -> PlanRecord:
        """The record of the plan, for sweeps/ID/plan.json. sweep: its id; created: ISO 8601; command: as typed."""
        jobs = [
            PlannedJob(
                index=job.index,
                name=job.name,
                overrides=job.overrides,
                axes=job.axes,
                config=for_record({key: value for key, value in job.config.items() if key != CLAIMS}),
                stages={role: stage.key for role, stage in job.stages.items()},
                refused=job.refused,
                images=ABSENT if job.counts is None else asdict(job.counts) | {"classes": list(job.counts.classes)},
            )
            for job in self.jobs
        ]
        stages = {stage.key: PlannedStage(**stage.spec()) for stage in self.stages.values()}
        return PlanRecord(
            id=sweep,
            created=created,
            command=command,
            verb=verb,
            axes=self.axes,
            jobs=jobs,
            stages=stages,
            claims=self.claims or ABSENT,
        )


def make_plan(jobs: Sequence[Composed], resolve: Resolve = dict, check_stages: CheckStages | None = None) -> Plan:
    """The plan of these jobs; a job that breaks a rule is refused, with the reason, and the others are planned.

    resolve: puts stored stages in the place of references to them, after values were checked; check_stages: None where
    there are no such references.
    """
    plan = Plan(
        [
            Job(i, job.overrides, job.config, refused=job.refused, without_data=job.without_data)
            for i, job in enumerate(jobs)
        ]
    )
    values = [dict(o.split("=", 1) for o in job.overrides if "=" in o) for job in plan.jobs]
    names = list(dict.fromkeys(name for v in values for name in v))
    varying = [name for name in names if len({v.get(name) for v in values}) > 1]
    fingerprints, check = Fingerprints(), JobCheck()
    for job, value in zip(plan.jobs, values, strict=True):
        job.axes = {name.lstrip("+"): value[name] for name in varying if name in value}
        if job.refused is not None:
            continue
        try:
            check(job.config)
            job.config = resolve(job.config)
            apply_rules(job.config)
            job.stages = stages_of(job.config, fingerprints)
            job.counts = fingerprints.counts(dict(job.config["data"]))
            if check_stages is not None:
                check_stages(job.config, job.stages)
        except AblatentError as e:
            job.refused, job.without_data, job.stages = str(e), isinstance(e, MissingData), {}
    return plan


def counts(plan: Plan) -> Counter[str]:
    """Number of distinct stages by kind."""
    return Counter(stage.kind for stage in plan.stages.values())


def effects(plan: Plan) -> dict[str, list[str]]:
    """axis → kinds of the stages that differ between jobs which differ in that axis alone.

    Left out are axes in which no two jobs differ alone, as in a design.
    """
    jobs = [job for job in plan.jobs if job.refused is None]
    out: dict[str, list[str]] = {}
    for axis in plan.axes:
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            rest = {name: value for name, value in job.axes.items() if name != axis}
            groups.setdefault(json.dumps(rest, sort_keys=True), []).append(job)
        if all(len(group) < 2 for group in groups.values()):
            continue
        kinds: dict[str, None] = {}
        for group in groups.values():
            roles = dict.fromkeys(role for job in group for role in job.stages)
            for role in roles:
                keys = {job.stages[role].key if role in job.stages else None for job in group}
                if len(keys) > 1:
                    kinds.setdefault(next(job.stages[role].kind for job in group if role in job.stages))
        out[axis] = list(kinds)
    return out
