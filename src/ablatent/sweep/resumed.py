"""A recorded sweep as a plan again: going on with it needs no command line. Free of torch."""

from graphlib import TopologicalSorter
from pathlib import Path

from ablatent.core.errors import ConfigError
from ablatent.stages.stage import Stage
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder
from ablatent.store.records import JobFailure, PlanRecord, StageOutcome
from ablatent.store.sweeps import job_records, newest_sweep
from ablatent.sweep.journal import driver_of, is_driven, states_of
from ablatent.sweep.plan import Job, Plan
from ablatent.sweep.run_sweep import RecordedSweep


def recorded_sweep(root: Path, sweep: SweepId | None) -> RecordedSweep:
    """A sweep of the store at `root`; None: the newest.

    Raises ConfigError for a store without any, DataError for a plan that cannot be read.
    """
    folder = sweep_folder(root, found := sweep or newest_sweep(root))
    return RecordedSweep(found, folder, PlanRecord.read(folder / PLAN))


def check_not_driven(recorded: RecordedSweep) -> None:
    """Raise ConfigError for a sweep that a command runs now."""
    if is_driven(recorded.folder) and (driver := driver_of(recorded.folder)) is not None:
        do = f"Watch it with do=status sweep={recorded.id}, end it with do=cancel sweep={recorded.id}."
        raise ConfigError("sweep", "a sweep that does not run", f"one that {driver.host}:{driver.pid} runs", do)


def plan_of(planned: PlanRecord) -> Plan:
    """The plan that a record was made of, without the counts of its images. JSON has lost the order of its stages."""
    order = TopologicalSorter({key: stage.inputs.values() for key, stage in planned.stages.items()}).static_order()
    stages = {key: Stage.of(planned.stages[key].to_json()) for key in order if key in planned.stages}
    place = {key: i for i, key in enumerate(stages)}
    return Plan(
        [
            Job(
                index=job.index,
                overrides=job.overrides,
                config=dict(job.config),
                axes=dict(job.axes),
                stages={role: stages[key] for role, key in sorted(job.stages.items(), key=lambda item: place[item[1]])},
                refused=job.refused,
            )
            for job in planned.jobs
        ]
    )


def failures_of(recorded: RecordedSweep, root: Path) -> dict[str, StageOutcome]:
    """key → outcome of the stages of a sweep whose builds reported an error."""
    known = {record.error.stage: record.error for record in job_records(root, recorded.id) if record.error}
    found = {}
    for key, state in states_of(recorded.folder).items():
        if state.status == "failed":
            error = known.get(key, JobFailure(key, key.kind, state.message, ""))
            found[str(key)] = StageOutcome("failed", state.seconds, error)
    return found
