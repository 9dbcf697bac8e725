"""The sweeps of a store. What cannot be read is named and left out: one damaged file hides no other sweep."""

from collections.abc import Iterator
from pathlib import Path

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.progress import warn_once
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder, sweep_ids
from ablatent.store.records import JobRecord, PlanRecord


def plans(root: Path) -> Iterator[tuple[SweepId, PlanRecord]]:
    """(id, plan) of every sweep whose plan can be read, the newest first; each other plan is named once."""
    for sweep in sweep_ids(root):
        path = sweep_folder(root, sweep) / PLAN
        try:
            yield sweep, PlanRecord.read(path)
        except DataError as error:
            warn_once(f"{path} is damaged: {error} This sweep is left out.")


def job_records(root: Path, sweep: SweepId) -> list[JobRecord]:
    """The records of the jobs of a sweep that have ended; each one that cannot be read is named once."""
    found = []
    for path in sorted((sweep_folder(root, sweep) / "jobs").glob("*.json")):
        try:
            found.append(JobRecord.read(path))
        except DataError as error:
            warn_once(f"{path} is damaged: {error}")
    return found


def sweep_named(root: Path, text: object) -> SweepId:
    """The id of a sweep that the store has, as it was typed under `sweep`. Raises ConfigError for another."""
    sweep, known = SweepId.typed(text, "sweep"), sweep_ids(root)
    if sweep not in known:
        newest = f"The newest is '{known[0]}'." if known else "This store holds no sweep yet."
        raise ConfigError("sweep", f"a sweep of {root}", text, did_you_mean(sweep, known) or newest)
    return sweep


def newest_sweep(root: Path) -> SweepId:
    """The id of the newest sweep whose plan can be read. Raises ConfigError for a store without any."""
    for sweep, _ in plans(root):
        return sweep
    raise ConfigError("sweep", f"a store with a sweep whose {PLAN} can be read", str(root), "Run one first.")
