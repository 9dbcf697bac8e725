"""The JSON records of a store: one typed reader and writer for each. Free of torch.

`Manifest`: manifest.json of an artifact. Of a sweep, below sweeps/ID: `PlanRecord`: plan.json, `JobRecord`:
jobs/NNN.json, `StageState`: stages/KEY.json, `Heartbeat`: beats/KEY.json, `Driver`: driver.json. `BuildRecord`: what a
worker is given, `StageOutcome`: what it gives back. What is in a file is checked against the fields of its class, whose
names are the keys of the JSON object.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablatent.store.identity import FileName, Key, SweepId
from ablatent.store.record import ABSENT, Record


@dataclass(frozen=True)
class FileRecord(Record):
    """A file of an artifact: bytes, and the hex digest of their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Record):
    """An artifact: which it is, its files, and, of a stage, what decided it and by what it was built.

    attempt: the same for all resumes of one build; wall_seconds: of all of them. config, inputs (role → key), version:
    what the key is made of; data: digests of the data, and the class that read them. source: of weights of another
    program. uses: of objects beside the inputs, name of the use → key. seal: the digest of everything else, None while
    there is none.
    """

    kind: str
    key: Key
    attempt: str
    files: Mapping[FileName, FileRecord]
    created: str
    wall_seconds: float
    version: int | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)
    inputs: Mapping[str, Key] = dataclasses.field(default_factory=lambda: ABSENT)
    data: Mapping[str, str | None] = dataclasses.field(default_factory=lambda: ABSENT)
    code: str | None = None
    git: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)
    packages: Mapping[str, str] = dataclasses.field(default_factory=lambda: ABSENT)
    python: str | None = None
    host: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)
    peak_memory_bytes: int | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)
    uses: Mapping[str, Key] = dataclasses.field(default_factory=lambda: ABSENT)
    seal: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedStage(Record):
    """A stage of a plan: everything that a builder needs. See `stages.base.Stage`, whose fields these are."""

    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Key]
    digests: Mapping[str, str]
    data: Mapping[str, Any]
    builder: str
    trained: bool
    scored: bool
    figure: str | None
    neutral: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlannedJob(Record):
    """A job of a plan. axes: axis → the value as it was typed; stages: role → key; refused: why it cannot run; images:
    what became of those of its data, see `data.base.Counts`."""

    index: int
    name: str
    overrides: list[str]
    axes: Mapping[str, str]
    config: Mapping[str, Any]
    stages: Mapping[str, Key]
    refused: str | None
    images: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)


@dataclass(frozen=True, kw_only=True)
class PlanRecord(Record):
    """A sweep before it starts. axes: axis → its values in order; stages: key → stage, inputs first; claims: name →
    what it is to test, as the configuration has it."""

    id: SweepId
    created: str
    command: str
    verb: str
    axes: Mapping[str, list[str]]
    jobs: list[PlannedJob]
    stages: Mapping[Key, PlannedStage]
    claims: Mapping[str, Any] = dataclasses.field(default_factory=lambda: ABSENT)


@dataclass(frozen=True, kw_only=True)
class BuildRecord(Record):
    """One stage to be built somewhere: the store of its inputs, the node `runtime`, and for whom it is built.

    on_code_change: warn | rebuild | error; tracking: the node of the tracker, None for none; end, beat: the files of
    its `StageOutcome` and `Heartbeat`, None for none.
    """

    stage: PlannedStage
    store: str
    runtime: Mapping[str, Any]
    invocation: str = ""
    on_code_change: str = "warn"
    tracking: Mapping[str, Any] | None = None
    end: str | None = None
    beat: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageState(Record):
    """Where a stage of a sweep stands. status: waiting (to be tried again) | elsewhere (another command builds it) |
    running | stopped (with its command) | built | found | failed | skipped.

    where: host and process, or job, that builds it; attempt: 1 for the first; time: of this state, seconds since 1970;
    seconds: spent on it; message: why it failed, or is tried again.
    """

    status: str
    where: str = ""
    attempt: int = 1
    time: float = 0.0
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Heartbeat(Record):
    """That a build is alive: beat: counts on; title, done, total, unit: of the work that it shows a bar for, if any;
    rate: units a second; where: its host and process."""

    beat: int
    where: str
    title: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Driver(Record):
    """The command that runs a sweep. beat: counts on while it lives; began: seconds since 1970; executor: its name;
    code: its exit code, None while it runs and where it was killed."""

    host: str
    pid: int
    began: float
    executor: str
    beat: int = 0
    code: int | None = None


@dataclass(frozen=True)
class JobStage(Record):
    """What became of a stage in one job. status: built, found, failed or skipped; seconds: that it took there."""

    key: Key
    status: str
    seconds: float


@dataclass(frozen=True)
class JobFailure(Record):
    """Why a job did not finish. stage: the key of the stage that failed, None of a job that was refused."""

    stage: Key | None
    kind: str
    message: str
    traceback: str


@dataclass(frozen=True)
class StageOutcome(Record):
    """What became of a stage in one command. status: built | found | failed | skipped | busy, where another process
    builds it; seconds: spent on it; error: why it failed."""

    status: str
    seconds: float = 0.0
    error: JobFailure | None = None


@dataclass(frozen=True)
class JobRecord(Record):
    """What became of a job. status: finished, failed or refused; stages: by role, those that were reached."""

    index: int
    status: str
    error: JobFailure | None
    seconds: float
    stages: Mapping[str, JobStage]
