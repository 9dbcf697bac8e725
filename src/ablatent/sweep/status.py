"""The contents of a store: objects by kind, builds in progress, sweeps and their jobs."""

import itertools
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ablatent.core.declared import nodes_below
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.escape import for_console
from ablatent.core.files import folder_bytes, read_json
from ablatent.core.here import program
from ablatent.core.progress import console, counted, track
from ablatent.core.targets import TARGET, class_of
from ablatent.data.base import ImageData
from ablatent.stages.kind_base import Fingerprints
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import checkpoints_of, newest_work_folder, sweep_folder, sweep_ids, work_keys
from ablatent.store.records import PlannedStage, PlanRecord
from ablatent.store.sweeps import job_records, plans
from ablatent.store.work import BLOCKS
from ablatent.sweep.journal import is_driven
from ablatent.sweep.sweep_status import show_sweep


def print_status(store: Store, sweep: SweepId | None, watch: bool = False) -> None:
    """Print objects by kind, builds in progress, sweeps; the jobs and stages of the named sweep too.

    watch: follow the named sweep until it ends. A plan or record that cannot be read is named, and what it says is left
    out. Of a plan, which may be large, only what is shown stays in memory.
    """
    _print_objects(store.root)
    building: dict[Key, list[PlannedStage]] = {key: [] for key in work_keys(store.root)}
    lines: list[list[str]] = []
    named: PlanRecord | None = None
    ids = sweep_ids(store.root)
    with track("sweeps", len(ids), "sweeps") as bar:
        for name, plan in plans(store.root):
            if building:
                _add_readers(building, plan)
            named = plan if name == sweep else named
            lines.append(_sweep_lines(store.root, name, plan, jobs=name == sweep))
            bar.advance()
    _print_work(store.root, building)
    for line in itertools.chain.from_iterable(reversed(lines)):
        console.print(for_console(line))
    if sweep is not None and named is not None:
        show_sweep(store.root, sweep, named, watch)


def _print_objects(root: Path) -> None:
    """Number and bytes of the objects, by kind."""
    table = Table("objects", "kind", "bytes", title=for_console(f"store {root}"), title_justify="left")
    kinds = sorted(kind for kind in (root / "objects").glob("*") if kind.is_dir())
    numbers = [sum(1 for _ in kind.iterdir()) for kind in kinds]
    with track("objects", sum(numbers), "objects") as bar:
        for kind, number in zip(kinds, numbers, strict=True):
            total = 0
            for folder in kind.iterdir():
                total += folder_bytes(folder) if folder.is_dir() else folder.stat().st_size
                bar.advance()
            table.add_row(str(number), for_console(kind.name), f"{total:,}")
    console.print(table)


def _sweep_lines(root: Path, name: SweepId, plan: PlanRecord, jobs: bool) -> list[str]:
    """The lines about a sweep. jobs: with the names of its jobs."""
    statuses = [record.status for record in job_records(root, name)]
    finished = f"{statuses.count('finished')} of {counted(len(plan.jobs), 'job')} finished"
    lines = [f"  sweep {name}: {finished}  {plan.command}"]
    if len(statuses) < len(plan.jobs):
        folder = sweep_folder(root, name)
        how = f"watch it: do=status sweep={name} watch=true" if is_driven(folder) else f"do=resume sweep={name} goes on"
        lines.append(f"    {'running' if is_driven(folder) else 'ended before its last job'}: {how}")
    if not (sweep_folder(root, name) / "report" / "report.html").exists():
        command = f"{program()} {shlex.join(['do=report', f'sweep={name}', f'store.path={root}'])}"
        lines.append(f"    no report yet: it runs, or was stopped. Write one: {command}")
    return lines + [f"    {name}:{job.index}  {job.name}" for job in plan.jobs if jobs]


def _add_readers(building: Mapping[Key, list[PlannedStage]], plan: PlanRecord) -> None:
    """Put the stages of a plan with what is being built for them: images are prepared within other stages, under a key
    of their own."""
    for key, stage in plan.stages.items():
        for wanted in {key, f"data-{stage.digests.get('images')}"} & building.keys():
            building[Key(wanted)].append(stage)


def _print_work(root: Path, building: Mapping[Key, list[PlannedStage]]) -> None:
    """A line for each build in progress, and one for all that failed on data which are not there any more.

    building: key → the stages of all plans that need it.
    """
    stale = set(_of_other_data(building))
    of_stale = [newest_work_folder(root, key) for key in sorted(stale)]
    useless = [folder for folder in of_stale if not checkpoints_of(folder)]
    for key in building:
        folder = newest_work_folder(root, key)
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


def _of_other_data(building: Mapping[Key, list[PlannedStage]]) -> Iterator[Key]:
    """Those builds that nothing goes on from: the data that their plan read have other digests now, or are gone."""
    fingerprints = Fingerprints()
    for key, stages in building.items():
        reading = [stage for stage in stages if _is_ours(stage.data)]
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
