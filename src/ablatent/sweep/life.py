"""A sweep, or a single run, from configurations to report: plan, check, build, track, report."""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ablatent.core.errors import AblatentError, DataError
from ablatent.core.files import write_json
from ablatent.core.progress import console, seconds
from ablatent.inference.pretrained import with_pretrained
from ablatent.stages.graph import SCORED
from ablatent.stages.objects import make
from ablatent.store.artifacts import Damaged, Store, verify
from ablatent.store.records import JobFailure, JobRecord, JobStage, PlannedJob, PlanRecord
from ablatent.sweep.build import Builder
from ablatent.sweep.executors import Inline, Outcome
from ablatent.sweep.plan import Composed, Job, Plan, make_plan, table
from ablatent.tracking.base import Tracking

PUBLISHED = (*SCORED, "samples")
"""Roles whose results a job's tracker run shows."""


def execute(jobs: Sequence[Composed], command: str) -> int:
    """Do what `do` asks for; returns the exit code."""
    config = next((job.config for job in jobs if job.refused is None), None)
    if config is None:
        raise AblatentError("\n".join(dict.fromkeys(str(job.refused) for job in jobs)))
    store = Store(config["store"]["path"])
    store.check_writable()
    verb = config["do"]
    if verb == "report":
        return report(store, config["sweep"])
    if verb == "status":
        return status(store, config["sweep"])
    if verb == "verify":
        return verify_all(store)
    if verb == "sample":
        from ablatent.inference.sampling import sample

        return sample(store, config)
    if verb in ("import", "export"):
        from ablatent.inference.import_export import export_weights, import_weights

        return import_weights(store, config) if verb == "import" else export_weights(store, config)
    plan = make_plan(with_pretrained(jobs, store))
    found = {s.key for s in plan.stages.values() if store.folder(s.kind, s.key).exists()}
    missing = found != {s.key for s in plan.stages.values()}
    if missing or verb == "plan":
        from ablatent.sweep.check import check_plan

        check_plan(plan, lambda stage: stage.key in found)
    for job in plan.jobs:
        if job.refused is not None:
            named = f"job {job.index} {job.name}: " if len(plan.jobs) > 1 else ""
            console.print(f"[red]refused[/] {escape(named + job.refused)}")
    if verb == "plan" or not plan.stages:
        if verb == "plan":
            from ablatent.sweep.sizes import table as sizes

            console.print(table(plan, store))
            if plan.stages:
                console.print(sizes(plan))
        return 2 if any(job.refused for job in plan.jobs) else 0
    return run(plan, store, config, command)


def run(plan: Plan, store: Store, config: Mapping[str, Any], command: str) -> int:
    """Build every stage, record every job, and report whatever happened."""
    start = time.monotonic()
    created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    sweep = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = store.root / "sweeps" / sweep
    (folder / "jobs").mkdir(parents=True)
    described = plan.record(sweep, created, command, config["do"])
    write_json(folder / "plan.json", described.to_json())
    console.print(table(plan, store))
    tracking: Tracking = make(config["tracking"])
    builder = Builder(store, config["runtime"], sweep, config["store"]["on_code_change"], tracking)
    failed = []

    def finished(job: Job, roles: dict[str, Outcome], spent: float) -> None:
        record = job_record(job, roles, spent)
        if record.status != "finished":
            failed.append(job)
        write_json(folder / "jobs" / f"{job.index:03d}.json", record.to_json())
        if job.refused is None:
            track_job(tracking, store, sweep, described.jobs[job.index], record, command)

    try:
        Inline(builder).run(plan, finished)
    finally:
        report(store, sweep, tracking)
    console.print(
        f"{len(plan.jobs) - len(failed)} of {len(plan.jobs)} jobs finished in {seconds(time.monotonic() - start)}"
    )
    return 1 if failed else 0


def job_record(job: Job, roles: dict[str, Outcome], spent: float) -> JobRecord:
    """What sweeps/ID/jobs/NNN.json holds."""
    error = next((JobFailure(**o.error) for o in roles.values() if o.error), None)
    if job.refused is not None:
        error = JobFailure(None, "configuration", job.refused, "")
    broken = any(o.status in ("failed", "skipped") for o in roles.values())
    return JobRecord(
        index=job.index,
        status="refused" if job.refused is not None else ("failed" if broken else "finished"),
        error=error,
        seconds=round(spent, 3),
        stages={r: JobStage(job.stages[r].key, o.status, round(o.seconds, 3)) for r, o in roles.items()},
    )


def track_job(tracking: Tracking, store: Store, sweep: str, job: PlannedJob, record: JobRecord, command: str) -> None:
    """One tracker run for a job: axes, every score, a grid of samples; failed when the job failed."""
    try:
        with tracking.job_run(sweep, job, command) as run:
            made = {role: store.find(role, job.stages[role]) for role in PUBLISHED if role in job.stages}
            for role in SCORED:
                if (found := made.get(role)) is not None:
                    metrics = found.json("scores.json")["metrics"]
                    run.summary({name: score["value"] for name, score in metrics.items()})
            for role, file in (("samples", "grid.png"), ("task", "figure.png")):
                if (found := made.get(role)) is not None:
                    import numpy as np
                    from PIL import Image

                    run.images(0, role, np.asarray(Image.open(found.path / file).convert("RGB")))
            run.summary({"seconds": record.seconds, "status": record.status})
            if record.status != "finished":
                run.fail(record.error.message if record.error else "a stage that it needs failed")
    except Exception as e:  # what was computed must not be lost because a tracker cannot be reached
        console.print(f"[yellow]tracking of job {job.index} failed[/]: {type(e).__name__}: {escape(str(e))}")


def newest_sweep(store: Store) -> str:
    found = sorted(p.parent.name for p in (store.root / "sweeps").glob("*/plan.json"))
    if not found:
        raise AblatentError(f"sweep: expected a sweep below {store.root / 'sweeps'}; there is none. Run one first.")
    return found[-1]


def report(store: Store, sweep: str | None, tracking: Tracking | None = None) -> int:
    """Write the report of a sweep from the store alone, and print its table."""
    from ablatent.report.build import finish

    sweep = sweep or newest_sweep(store)
    if not (store.root / "sweeps" / sweep / "plan.json").exists():
        from ablatent.core.errors import ConfigError, did_you_mean

        known = [p.parent.name for p in (store.root / "sweeps").glob("*/plan.json")]
        raise ConfigError("sweep", f"a sweep of {store.root}", sweep, did_you_mean(sweep, known))
    finish(store.root, sweep, wandb=tracking is not None and tracking.backend == "wandb")
    return 0


def status(store: Store, sweep: str | None) -> int:
    """Objects by kind, builds in progress, sweeps; the jobs of the one that is named."""
    objects = Table("objects", "kind", "bytes", title=f"store {store.root}", title_justify="left")
    for kind in sorted(p for p in (store.root / "objects").glob("*") if p.is_dir()):
        files = [f for f in kind.rglob("*") if f.is_file()]
        objects.add_row(str(sum(1 for _ in kind.iterdir())), kind.name, f"{sum(f.stat().st_size for f in files):,}")
    console.print(objects)
    for work in sorted((store.root / "work").glob("*/")):
        state = "failed" if (work / "error.json").exists() else "unfinished"
        console.print(f"  {work.name}: {state}" + (", has a checkpoint" if (work / "last.ckpt").exists() else ""))
    for path in sorted((store.root / "sweeps").glob("*/plan.json")):
        plan = PlanRecord.read(path)
        done = [JobRecord.read(j).status for j in sorted((path.parent / "jobs").glob("*.json"))]
        counted = f"{done.count('finished')} of {len(plan.jobs)} jobs finished"
        console.print(f"  sweep {plan.id}: {counted}  {plan.command}", markup=False)
        if plan.id == sweep:
            for job in plan.jobs:
                console.print(f"    {sweep}:{job.index}  {job.name}", markup=False)
    return 0


def verify_all(store: Store) -> int:
    """Hash every stored byte; damaged objects are named, and set aside."""
    bad = 0
    folders: list[Path] = sorted(p for p in (store.root / "objects").glob("*/*") if p.is_dir())
    for folder in folders:
        try:
            verify(folder, folder.name, everything=True)
        except Damaged as e:
            bad += 1
            store.set_aside(folder.parent.name, folder.name, f"[red]damaged[/] {escape(str(e))}")
        except DataError as e:
            bad += 1
            console.print(f"[red]unknown[/] {escape(str(e))}")
    console.print(f"{len(folders) - bad} of {len(folders)} objects are whole")
    return 1 if bad else 0
