"""A sweep as the store holds it, in plain dataclasses. What is missing or damaged becomes a problem, no error."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.files import read_json, sha256
from ablatent.report.metrics import ARROW, ordered
from ablatent.store.artifacts import MANIFEST
from ablatent.store.records import FileRecord, JobFailure, JobRecord, Manifest, PlannedJob, PlannedStage, PlanRecord

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, DataError)  # what a damaged file can raise
HASHED_BELOW = 256 * 2**20  # bytes; larger files are checked by size here and by hash in do=verify


@dataclass(frozen=True, kw_only=True)
class StoredScore:
    """One metric of one job, as scores.json has it: see `evaluation.scores.Score`. stage: the key of what left it."""

    value: float
    std: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    label: str = ""
    better: str | None = None
    beside: str | None = None
    shown_in: str = "report"
    remark: str = ""
    stage: str = ""

    @property
    def title(self) -> str:
        """The label with an arrow in the direction that is better."""
        return self.label + ARROW[self.better]


@dataclass
class Stored:
    """One artifact of a sweep: as it was planned, and as the store has it.

    manifest: None where it cannot be used; problem: why that is so, None when its manifest is fine.
    """

    key: str
    folder: Path
    planned: PlannedStage
    manifest: Manifest | None = None
    problem: str | None = None

    @property
    def kind(self) -> str:
        """The kind of stage that it is of."""
        return self.planned.kind

    @property
    def inputs(self) -> Mapping[str, str]:
        """Role → key of the stages that it was built from."""
        return self.planned.inputs

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that decided it, as its manifest has it, else as it was planned."""
        return self.planned.config if self.manifest is None else self.manifest.config

    @property
    def data(self) -> Mapping[str, str | None]:
        """Digests of the data that it read, and under `source` their class; empty where the manifest has none."""
        return {} if self.manifest is None else self.manifest.data

    @property
    def files(self) -> Mapping[str, FileRecord]:
        """Its files by name; empty where the manifest is not fine."""
        return {} if self.manifest is None else self.manifest.files

    def has(self, name: str) -> bool:
        """Whether the manifest lists a file."""
        return name in self.files

    def file(self, name: str) -> Path:
        """The path of a file that is what the manifest says. Raises DataError naming the artifact otherwise."""
        if self.problem:
            raise DataError(f"{self.key}: {self.problem}")
        entry = self.files.get(name)
        path = self.folder / name
        if entry is None or not path.is_file():
            raise DataError(f"{self.key}: {name} is missing")
        if path.stat().st_size != entry.size:
            raise DataError(f"{self.key}: {name} is damaged ({path.stat().st_size} bytes, expected {entry.size})")
        if entry.size < HASHED_BELOW and sha256(path) != entry.sha256:
            raise DataError(f"{self.key}: {name} is damaged (its sha256 is not the manifest's)")
        return path

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file. Raises DataError or ValueError for a file that is damaged or holds another value."""
        value = read_json(self.file(name))
        if not isinstance(value, dict):
            raise DataError(f"{self.key}: {name} should hold a JSON object")
        return value

    def array(self, name: str) -> np.ndarray:
        """The array in a .npy file. Raises DataError, ValueError for a file that is damaged."""
        return np.load(self.file(name), allow_pickle=False)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json, empty for an artifact without."""
        return self.json("summary.json") if self.has("summary.json") else {}

    def curves(self) -> dict[str, np.ndarray]:
        """name -> (n, 2) float64 array of step and value, in order of steps; empty when nothing was recorded."""
        if not self.has("curves.csv"):
            return {}
        points: dict[str, list[tuple[float, float]]] = {}
        for row in csv.DictReader(io.StringIO(self.file("curves.csv").read_text())):
            points.setdefault(row["name"], []).append((float(row["step"]), float(row["value"])))
        return {name: np.array(sorted(rows, key=lambda r: r[0])) for name, rows in points.items()}

    @property
    def seconds(self) -> float | None:
        """Wall time of its build; None where the manifest is not fine."""
        return None if self.manifest is None else self.manifest.wall_seconds


@dataclass(kw_only=True)
class JobResult:
    """One job of the sweep. status: finished, failed, refused or unfinished (killed before it could say)."""

    index: int
    name: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    stages: Mapping[str, str]  # role -> key
    status: str
    error: JobFailure | None
    seconds: float | None
    built: Mapping[str, str]  # key -> built | found | failed | skipped
    scores: dict[str, StoredScore] = field(default_factory=dict)
    lost: bool = False  # some of its scores are in no readable file any more


@dataclass(kw_only=True)
class Sweep:
    """Everything a report shows."""

    id: str
    folder: Path
    created: str
    command: str
    verb: str
    title: str
    question: str
    axes: Mapping[str, list[Any]]
    jobs: list[JobResult]
    objects: dict[str, Stored]
    problems: list[str]

    @cached_property
    def metrics(self) -> dict[str, StoredScore]:
        """Name → that score of the first job that has it, in the order of columns."""
        found: dict[str, StoredScore] = {}
        for job in self.jobs:
            found = {**job.scores, **found}
        return {name: found[name] for name in ordered({n: s.beside for n, s in found.items()})}

    @property
    def seed_axes(self) -> list[str]:
        """Axes over seeds."""
        return [a for a in self.axes if a == "seed" or a.endswith(".seed")]

    @property
    def plain_axes(self) -> list[str]:
        """The other axes."""
        return [a for a in self.axes if a not in self.seed_axes]

    def closure(self, keys: Iterable[str]) -> set[str]:
        """The given stages and all that they stand on."""
        found: set[str] = set()
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                todo.extend(self.objects[key].inputs.values() if key in self.objects else ())
        return found

    def job_seconds(self, job: JobResult) -> float | None:
        """What the job would have cost alone: wall seconds of all stages that it stands on; None when none is known."""
        known = [
            o.seconds for k in self.closure(job.stages.values()) if (o := self.objects.get(k)) and o.seconds is not None
        ]
        return math.fsum(known) if known else None

    @property
    def figures(self) -> list[str]:
        """The roles of stages that have a figure for trackers."""
        stages = [(role, self.objects.get(key)) for job in self.jobs for role, key in job.stages.items()]
        return list(dict.fromkeys(role for role, o in stages if o is not None and o.planned.figure))

    @property
    def readable(self) -> list[Stored]:
        """The readable artifacts, in the order in which jobs use them."""
        order = {key: n for n, key in enumerate(k for j in self.jobs for k in j.stages.values())}
        usable = [o for o in self.objects.values() if o.problem is None]
        return sorted(usable, key=lambda o: order.get(o.key, len(order)))

    def of_kind(self, kind: str) -> list[Stored]:
        """The readable artifacts of one kind, in the order in which jobs use them."""
        return [o for o in self.readable if o.kind == kind]

    def with_file(self, *names: str) -> list[Stored]:
        """The readable artifacts that have all these files, whatever their kind: what a report shows of them."""
        return [o for o in self.readable if all(o.has(name) for name in names)]

    def label(self, key: str) -> str:
        """The axes that tell this stage from others of its kind, as `axis=value`; else its kind, or its key."""
        users = [j for j in self.jobs if key in self.closure(j.stages.values())]
        parts = []
        for axis, values in self.axes.items():
            mine = {json.dumps(j.axes.get(axis)) for j in users}
            if len(values) > 1 and len(mine) == 1 and users:
                parts.append(f"{axis}={show_value(users[0].axes.get(axis))}")
        alone = key in self.objects and sum(o.kind == self.objects[key].kind for o in self.objects.values()) == 1
        return " ".join(parts) or (self.objects[key].kind.replace("_", " ") if alone else key[:26])


def show_value(value: Any) -> str:
    """Axis values as a person writes them on the command line."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


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
