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

from ablatent.claims.claim import is_seed
from ablatent.core.errors import DataError
from ablatent.core.files import read_json, sha256
from ablatent.report.metrics import ARROW, ordered
from ablatent.store.records import FileRecord, JobFailure, Manifest, PlannedStage

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    DataError,
)  # what a damaged file can raise
HASHED_BELOW = 256 * 2**20  # bytes; larger files are checked by size here and by hash in do=verify


@dataclass(frozen=True, kw_only=True)
class StoredScore:
    """One metric of one job, as scores.json has it: see `evaluation.scores.Score`.

    stage: the key of what left it; interval: over samples within one training, 95 %.
    """

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
    interval: tuple[float, float] | None = None

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
        return {} if self.manifest is None else dict[str, FileRecord](self.manifest.files.items())

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
        """The object in a JSON file. Raises DataError, ValueError for damage or another value."""
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
    images: Mapping[str, Any] = field(default_factory=dict)  # see data.base.Counts
    lost: bool = False  # some of its scores are in no readable file any more
    overrides: list[str] = field(default_factory=list)


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
    claims: Mapping[str, Any] = field(default_factory=dict)  # name → node, see `claims.claim.Claim`

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
        return [a for a in self.axes if is_seed(a)]

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

    @cached_property
    def users(self) -> dict[str, list[JobResult]]:
        """Stage → the jobs that stand on it."""
        found: dict[str, list[JobResult]] = {}
        for job in self.jobs:
            for key in self.closure(job.stages.values()):
                found.setdefault(key, []).append(job)
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
        users = self.users.get(key, [])
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
