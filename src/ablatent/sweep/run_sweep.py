"""The course of a sweep, or of a single job: build every stage, record and track every job, write the report."""

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ablatent.core.files import write_json
from ablatent.core.progress import console, counted, seconds
from ablatent.store.artifacts import Store
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder
from ablatent.store.records import JobFailure, JobRecord, JobStage, PlannedJob
from ablatent.store.sweeps import plans
from ablatent.sweep.builder import Builder
from ablatent.sweep.executors import Executor, StageOutcome
from ablatent.sweep.plan import Job, Plan, stages_table
from ablatent.tracking.base import TrackedJob, Tracking


def run(
    plan: Plan,
    store: Store,
    config: Mapping[str, Any],
    command: str,
    executor: Executor,
    tracking: Tracking,
    report: Callable[[SweepId, Path], None],
    elsewhere: Callable[[SweepId], Path] | None = None,
) -> int:
    """Build every stage, record every job, and write the report, also after failures; the exit code.

    config: of any job, for store, runtime and verb; command: as typed, for the record; report: called with the sweep's
    id and the folder of its record at its end, also after an error; elsewhere: that folder, where it is not the
    store's. 1 where a job failed or was refused, else 0.
    """
    start = time.monotonic()
    created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    sweep = SweepId(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    folder = sweep_folder(store.root, sweep) if elsewhere is None else elsewhere(sweep)
    (folder / "jobs").mkdir(parents=True, exist_ok=True)
    planned = plan.record(sweep, created, command, config["do"])
    write_json(folder / PLAN, planned.to_json())
    console.print(stages_table(plan, store))
    builder = Builder(store, config["runtime"], sweep, config["store"]["on_code_change"], tracking)
    failed = []

    def finished(job: Job, outcomes: dict[str, StageOutcome], spent: float) -> None:
        record = job_record(job, outcomes, spent)
        if record.status != "finished":
            failed.append(job)
        write_json(folder / "jobs" / f"{job.index:03d}.json", record.to_json())
        if job.refused is None:
            track_job(tracking, store, sweep, job, planned.jobs[job.index], record, command)

    try:
        executor.run(plan, builder, finished)
    finally:
        report(sweep, folder)
    console.print(
        f"{len(plan.jobs) - len(failed)} of {counted(len(plan.jobs), 'job')} finished "
        f"in {seconds(time.monotonic() - start)}"
    )
    return 1 if failed else 0


def job_record(job: Job, outcomes: dict[str, StageOutcome], spent: float) -> JobRecord:
    """The record of a job, for sweeps/ID/jobs/NNN.json. outcomes: role → outcome of the stage; spent: seconds."""
    error = next((JobFailure(**o.error) for o in outcomes.values() if o.error), None)
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
