"""Reading a sweep from the store. What is missing or damaged becomes a problem, no error."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.report.metrics import ARROW
from ablatent.report.model import UNREADABLE, JobResult, Stored, StoredScore, Sweep
from ablatent.store.artifacts import MANIFEST
from ablatent.store.records import JobFailure, JobRecord, Manifest, PlannedJob, PlannedStage, PlanRecord


def axis_value(text: Any) -> Any:
    """An override's value as it was meant: numbers and true/false/null from their text, other text as it is."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = float(text)  # 1e-3 and .5 are numbers on the command line, but not JSON
        except ValueError:
            return text
    return value if isinstance(value, bool | int | float | None) else text


def _read_object(store: Path, key: str, planned: PlannedStage) -> Stored:
    folder = store / "objects" / planned.kind / key
    if not (folder / MANIFEST).is_file():
        return Stored(key, folder, planned, problem="not in the store")
    try:
        manifest = Manifest.read(folder / MANIFEST)
        if manifest.key != key:
            raise DataError(f"it is the manifest of {manifest.key}")
    except DataError as error:
        return Stored(key, folder, planned, problem=f"its manifest is damaged ({error})")
    return Stored(key, folder, planned, manifest)


def _read_scores(stored: Stored) -> dict[str, StoredScore]:
    scores = {}
    for name, score in stored.json("scores.json")["metrics"].items():
        if score["value"] is not None and math.isfinite(score["value"]):
            std, better = score.get("std"), score["better"]
            scores[name] = StoredScore(
                value=float(score["value"]),
                std=None if std is None else float(std),
                protocol=score.get("protocol") or {},
                notes=tuple(str(n) for n in score.get("notes") or ()),
                label=str(score["label"]),
                better=better if better in ARROW else None,
                beside=score.get("beside"),
                shown_in=score.get("shown_in", "report"),
                remark=score.get("remark", ""),
                stage=stored.key,
            )
    return scores


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
        built={} if record is None else {s.key: s.status for s in record.stages.values()},
    )


def load_sweep(store_root: Path, sweep_id: str) -> Sweep:
    """Read a sweep from the store alone. Raises ConfigError (key "sweep") when it has no readable plan of that name."""
    store = Path(store_root)
    folder = store / "sweeps" / str(sweep_id)
    if not (folder / "plan.json").is_file():
        known = sorted((p.parent.name for p in store.glob("sweeps/*/plan.json")), reverse=True)
        do = did_you_mean(sweep_id, known) or (
            f"The newest is '{known[0]}'." if known else "This store holds no sweep yet."
        )
        raise ConfigError("sweep", f"a sweep in {store / 'sweeps'}", sweep_id, do)
    try:
        plan = PlanRecord.read(folder / "plan.json")
    except DataError as error:
        raise ConfigError("sweep", "a sweep whose plan.json can be read", f"{sweep_id} ({error})") from error
    problems: list[str] = []
    jobs = [_read_job(folder, planned, problems) for planned in plan.jobs]
    objects = {key: _read_object(store, key, stage) for key, stage in plan.stages.items()}
    for stored in objects.values():
        wanted = any(j.built.get(stored.key) in ("built", "found") for j in jobs)
        if stored.problem and (wanted or "damaged" in stored.problem):
            problems.append(f"{stored.key}: {stored.problem}.")
        if not stored.planned.scored:
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
        id=str(sweep_id),
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
    )
