"""The contents of a store: objects by kind, builds in progress, sweeps and their jobs."""

from rich.table import Table

from ablatent.core.progress import console
from ablatent.store.artifacts import Store
from ablatent.store.records import JobRecord, PlanRecord


def print_status(store: Store, sweep: str | None) -> None:
    """Print objects by kind, builds in progress, sweeps; the jobs of the named sweep too."""
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
        statuses = [JobRecord.read(j).status for j in sorted((path.parent / "jobs").glob("*.json"))]
        counted = f"{statuses.count('finished')} of {len(plan.jobs)} jobs finished"
        console.print(f"  sweep {plan.id}: {counted}  {plan.command}", markup=False)
        if plan.id == sweep:
            for job in plan.jobs:
                console.print(f"    {sweep}:{job.index}  {job.name}", markup=False)
