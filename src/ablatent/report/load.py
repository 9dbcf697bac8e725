"""Reading a sweep from the store. What is missing or damaged becomes a problem, no error."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablatent.core.errors import AblatentError, ConfigError, DataError
from ablatent.core.values import axis_value
from ablatent.report.metrics import ARROW
from ablatent.report.model import UNREADABLE, JobResult, Stored, StoredScore, Sweep
from ablatent.report.sampling_cost import sampling_cost
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import PLAN, object_folder, sweep_folder
from ablatent.store.records import JobFailure, JobRecord, PlannedJob, PlannedStage, PlanRecord
from ablatent.store.sweeps import sweep_named
from ablatent.store.verify import MANIFEST, read_manifest


def _read_object(store: Path, key: Key, planned: PlannedStage) -> Stored:
    folder = object_folder(store, key)
    if not (folder / MANIFEST).exists():
        return Stored(key, folder, planned, problem="not in the store")
    try:
        return Stored(key, folder, planned, read_manifest(folder, key))
    except AblatentError as error:
        return Stored(key, folder, planned, problem=f"its manifest is damaged ({error})")


def _read_scores(stored: Stored) -> dict[str, StoredScore]:
    scores = {}
    for name, score in stored.json("scores.json")["metrics"].items():
        if not isinstance(score.get("protocol") or {}, Mapping):
            raise ValueError(f"{name}: expected a mapping as protocol")
        if score["value"] is not None and math.isfinite(score["value"]):
            std, better = score.get("std"), score["better"]
            scores[name] = StoredScore(
                value=float(score["value"]),
                std=None if std is None else float(std),
                protocol=score.get("protocol") or {},
                notes=tuple(str(n) for n in score.get("notes") or ()),
                label=str(score["label"]),
                better=better if better in ARROW else None,
                beside=None if score.get("beside") is None else str(score["beside"]),
                shown_in=str(score.get("shown_in", "report")),
                remark=str(score.get("remark", "")),
                stage=stored.key,
                interval=_interval(score.get("interval")),
            )
    return scores


def _interval(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = map(float, value)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _read_job(folder: Path, planned: PlannedJob, problems: list[str]) -> JobResult:
    path = folder / "jobs" / f"{planned.index:03d}.json"
    record = None
    if path.is_file():
        try:
            record = JobRecord.read(path)
        except DataError as error:
            problems.append(f"jobs/{path.name} cannot be read ({error}).")
    status, error_ = ("unfinished", None) if record is None else (record.status, record.error)
    if planned.refused:
        status, error_ = "refused", error_ or JobFailure(None, "refused at planning", planned.refused, "")
    return JobResult(
        index=planned.index,
        name=planned.name or "single run",
        axes={a: axis_value(v) for a, v in planned.axes.items()},
        config=planned.config,
        stages=planned.stages,
        status=status,
        error=error_,
        seconds=None if record is None else record.seconds,
        images=planned.images,
        overrides=planned.overrides,
        built={} if record is None else {s.key: s.status for s in record.stages.values()},
    )


def _add_cost(stored: Stored, jobs: Sequence[JobResult], problems: list[str]) -> None:
    """Give what drawing samples cost to the jobs that drew them."""
    try:
        found = {} if stored.problem else sampling_cost(stored)
    except UNREADABLE as error:
        problems.append(f"{stored.key}: summary.json: {error}.")
        return
    for job in jobs if found else ():
        if stored.key in job.stages.values():
            job.scores.update(found)


def load_sweep(store_root: Path, sweep_id: str, record: Path | None = None) -> Sweep:
    """Read a sweep from the store alone. Raises ConfigError (key "sweep") when it has no readable plan of that name.

    record: the folder with plan.json and jobs/, where it is not in the store.
    """
    store = Path(store_root)
    sweep = sweep_named(store, sweep_id) if record is None else SweepId.typed(sweep_id, "sweep")
    folder = record or sweep_folder(store, sweep)
    try:
        plan = PlanRecord.read(folder / PLAN)
    except DataError as error:
        raise ConfigError("sweep", f"a sweep whose {PLAN} can be read", f"{sweep} ({error})") from error
    problems: list[str] = []
    jobs = [_read_job(folder, planned, problems) for planned in plan.jobs]
    objects: dict[str, Stored] = {key: _read_object(store, key, stage) for key, stage in plan.stages.items()}
    for stored in objects.values():
        wanted = any(j.built.get(stored.key) in ("built", "found") for j in jobs)
        if stored.problem and (wanted or "damaged" in stored.problem):
            problems.append(f"{stored.key}: {stored.problem}.")
        if not stored.planned.scored:
            _add_cost(stored, jobs, problems)
            continue
        scores = None
        try:
            scores = None if stored.problem else _read_scores(stored)
        except UNREADABLE as error:
            problems.append(f"{stored.key}: scores.json: {error}.")
        for job in jobs:
            if stored.key in job.stages.values():
                job.scores.update(scores or {})
                job.lost |= scores is None
    axes = {a: [axis_value(v) for v in values] for a, values in plan.axes.items()}
    config: Mapping[str, Any] = next((job.config for job in jobs if job.config), {})
    return Sweep(
        id=sweep,
        folder=folder,
        created=plan.created,
        command=plan.command,
        verb=plan.verb,
        title=str(config.get("title") or ""),
        question=str(config.get("question") or ""),
        axes=axes,
        jobs=jobs,
        objects=objects,
        problems=problems,
        claims=plan.claims,
    )
