"""The contents of a store: objects by kind, builds in progress, sweeps and their jobs."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ablatent.core.declared import nodes_below
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.escape import for_console
from ablatent.core.files import read_json
from ablatent.core.progress import console, counted
from ablatent.core.targets import TARGET, class_of
from ablatent.data.base import ImageData
from ablatent.stages.kind_base import Fingerprints
from ablatent.store.artifacts import BLOCKS, Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import checkpoints_of, sweep_folder, work_folder, work_keys
from ablatent.store.records import PlannedStage, PlanRecord
from ablatent.store.sweeps import job_records, plans


def print_status(store: Store, sweep: SweepId | None) -> None:
    """Print objects by kind, builds in progress, sweeps; the jobs of the named sweep too.

    A plan or record that cannot be read is named, and what it says is left out.
    """
    objects = Table("objects", "kind", "bytes", title=for_console(f"store {store.root}"), title_justify="left")
    for kind in sorted(p for p in (store.root / "objects").glob("*") if p.is_dir()):
        files = [f for f in kind.rglob("*") if f.is_file()]
        objects.add_row(
            str(sum(1 for _ in kind.iterdir())), for_console(kind.name), f"{sum(f.stat().st_size for f in files):,}"
        )
    console.print(objects)
    known = list(plans(store.root))
    _print_work(store.root, [plan for _, plan in known])
    for name, plan in reversed(known):
        statuses = [record.status for record in job_records(store.root, name)]
        finished = f"{statuses.count('finished')} of {counted(len(plan.jobs), 'job')} finished"
        console.print(for_console(f"  sweep {name}: {finished}  {plan.command}"))
        if len(statuses) < len(plan.jobs):
            console.print("    running, or ended before its last job: its command goes on")
        if not (sweep_folder(store.root, name) / "report" / "report.html").exists():
            command = shlex.join(["python", "run.py", "do=report", f"sweep={name}", f"store.path={store.root}"])
            console.print(for_console(f"    no report yet: it runs, or was stopped. Write one: {command}"))
        if name == sweep:
            for job in plan.jobs:
                console.print(for_console(f"    {name}:{job.index}  {job.name}"))


def _print_work(root: Path, known: list[PlanRecord]) -> None:
    """A line for each build in progress, and one for all that failed on data which are not there any more."""
    stale = set(_of_other_data(work_keys(root), known))
    useless = [work_folder(root, key) for key in sorted(stale) if not checkpoints_of(work_folder(root, key))]
    for key in work_keys(root):
        folder = work_folder(root, key)
        if folder not in useless:
            left = ["a checkpoint"] if checkpoints_of(folder) else []
            left += ["finished blocks"] if (folder / BLOCKS).exists() else []
            kept = f", has {' and '.join(left)}" if left else ""
            gone = ", of data that are not there as they were" if key in stale else ""
            console.print(for_console(f"  {key}: {_state(folder / 'error.json')}{kept}{gone}"))
    if useless:
        folders = shlex.join(map(str, useless))
        console.print(f"  builds of data that are not there as they were: {len(useless)}. To free their space:")
        console.print(for_console(f"    rm -r {folders}"))


def _state(error: Path) -> str:
    if not error.exists():
        return "unfinished"
    try:
        return f"failed ({str(read_json(error)['message']).splitlines()[0]})"
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return f"failed ({error} is damaged)"


def _of_other_data(keys: list[Key], known: list[PlanRecord]) -> Iterator[Key]:
    """Those builds that nothing goes on from: the data that their plan read have other digests now, or are gone."""
    stages = [(key, stage) for plan in known for key, stage in plan.stages.items()]
    fingerprints = Fingerprints()
    for key in keys:
        # images are prepared within other stages, under a key of their own
        reading = [s for k, s in stages if key in (k, f"data-{s.digests.get('images')}") and _is_ours(s.data)]
        if reading and all(_changed(stage, fingerprints) for stage in reading):
            yield key


def _is_ours(data: Mapping[str, Any]) -> bool:
    """Whether looking at a data set runs nothing but code of this package: a plan may come from anybody."""
    if len(list(nodes_below([data]))) != 1 or not str(data.get(TARGET)).startswith("ablatent.data."):
        return False
    try:
        return issubclass(class_of(data), ImageData)
    except ConfigError:
        return False


def _changed(stage: PlannedStage, fingerprints: Fingerprints) -> bool:
    try:
        now = fingerprints.of(stage.data)
    except AblatentError:
        return True
    return any(getattr(now, part, None) != digest for part, digest in stage.digests.items())
