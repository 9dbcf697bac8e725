"""The course of a sweep, or of a single job: build every stage, record and track every job, write the report."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ablatent.core.files import write_json
from ablatent.core.progress import console, counted, seconds
from ablatent.store.artifacts import Store
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder
from ablatent.store.records import JobFailure, JobRecord, JobStage, PlannedJob, PlanRecord, StageOutcome
from ablatent.store.sweeps import plans
from ablatent.sweep.builder import Builder
from ablatent.sweep.cost_rule import rule_of
from ablatent.sweep.executor import Executor, SweepRun
from ablatent.sweep.journal import Journal
from ablatent.sweep.plan import Job, Plan
from ablatent.sweep.plan_cost import PlanCost, missing_from
from ablatent.tracking.base import NoTracking, TrackedJob, Tracking


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep whose plan is written down. folder: of its record."""

    id: SweepId
    folder: Path
    planned: PlanRecord


def write_plan(
    plan: Plan, root: Path, config: Mapping[str, Any], command: str, elsewhere: Callable[[SweepId], Path] | None = None
) -> RecordedSweep:
    """Begin the record of a sweep, in the store at `root` or `elsewhere`; config: of any job; command: as typed."""
    created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    sweep = SweepId(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    folder = sweep_folder(root, sweep) if elsewhere is None else elsewhere(sweep)
    (folder / "jobs").mkdir(parents=True, exist_ok=True)
    planned = plan.record(sweep, created, command, config["do"])
    write_json(folder / PLAN, planned.to_json())
    return RecordedSweep(sweep, folder, planned)


def run(
    plan: Plan,
    store: Store,
    config: Mapping[str, Any],
    recorded: RecordedSweep,
    executor: Executor,
    tracking: Tracking,
    report: Callable[[SweepId, Path], None],
    given_up: Mapping[str, StageOutcome] = MappingProxyType({}),
) -> int:
    """Build every stage, record every job, and write the report, also after failures; the exit code.

    config: of any job, for store, runtime, tracking and executor; report: called with the sweep's id and the folder of
    its record at its end, also after an error; given_up: key → outcome of stages that are not tried. 1 where a job
    failed or was refused, else 0.
    """
    start = time.monotonic()
    sweep, command = recorded.id, recorded.planned.command
    slots = executor.slots_on(config["runtime"], missing_from(store, plan))
    cost = PlanCost(plan, store, rule_of(plan, config["runtime"], slots))
    console.print(cost.table())
    builder = Builder(store, config["runtime"], sweep, config["store"]["on_code_change"], tracking)
    failed = []

    def finished(job: Job, outcomes: dict[str, StageOutcome], spent: float) -> None:
        record = job_record(job, outcomes, spent)
        if record.status != "finished":
            failed.append(job)
        write_json(recorded.folder / "jobs" / f"{job.index:03d}.json", record.to_json())
        if job.refused is None:
            track_job(tracking, store, sweep, job, recorded.planned.jobs[job.index], record, command)

    journal = Journal(recorded.folder)
    node = None if isinstance(tracking, NoTracking) else config["tracking"]
    try:
        with journal.driven(type(executor).__name__.lower()):
            executor.run(SweepRun(plan, builder, journal, finished, node, given_up, cost.expected_time, slots))
    finally:
        report(sweep, recorded.folder)
    journal.left(code := 1 if failed else 0)
    console.print(
        f"{len(plan.jobs) - len(failed)} of {counted(len(plan.jobs), 'job')} finished "
        f"in {seconds(time.monotonic() - start)}"
    )
    return code


def job_record(job: Job, outcomes: dict[str, StageOutcome], spent: float) -> JobRecord:
    """The record of a job, for sweeps/ID/jobs/NNN.json. outcomes: role → outcome of the stage; spent: seconds."""
    error = next((o.error for o in outcomes.values() if o.error), None)
    if job.refused is not None:
        error = JobFailure(None, "configuration", job.refused, "")
    broken = any(o.status in ("failed", "skipped") for o in outcomes.values())
    return JobRecord(
        index=job.index,
        status="refused" if job.refused is not None else ("failed" if broken else "finished"),
        error=error,
        seconds=round(spent, 3),
        stages={role: JobStage(job.stages[role].key, o.status, round(o.seconds, 3)) for role, o in outcomes.items()},
    )


def track_job(
    tracking: Tracking,
    store: Store,
    sweep: str,
    job: Job,
    planned: PlannedJob,
    record: JobRecord,
    command: str,
) -> None:
    """Write one tracker run for a job: axes, every score, the figures of its stages; failed when the job failed.

    An error of the tracker, or of what it would show, is printed, not raised.
    """
    tracked = TrackedJob(planned.index, planned.name, planned.axes, planned.config, planned.stages)
    with tracking.shielded(), tracking.job_run(sweep, tracked, command) as run:
        for role, stage in job.stages.items():
            if (stage.scored or stage.figure) and (found := store.find(stage.key)) is not None:
                if stage.scored:
                    metrics = found.json("scores.json")["metrics"]
                    run.summary({name: score["value"] for name, score in metrics.items()})
                if stage.figure:
                    run.figure(role, found.path / stage.figure)
        run.summary({"seconds": record.seconds, "status": record.status})
        if record.status != "finished":
            run.fail(record.error.message if record.error else "a stage that it needs failed")


def report_of(root: Path, command: str) -> Path | None:
    """The report of the newest sweep in the store at `root` that this command made; None where there is none."""
    for sweep, plan in plans(root):
        report = sweep_folder(root, sweep) / "report" / "report.html"
        if plan.command == command and report.exists():
            return report
    return None
