"""The JSON records of a store: one typed reader and writer for each. Free of torch.

`Manifest`: manifest.json of an artifact. Of a sweep, below sweeps/ID: `PlanRecord`: plan.json, `JobRecord`:
jobs/NNN.json, `StageState`: stages/KEY.json, `Heartbeat`: beats/KEY.json, `Driver`: driver.json. `BuildRecord`: what a
worker is given, `StageOutcome`: what it gives back. What is in a file is checked against the fields of its class, whose
names are the keys of the JSON object.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ablatent.core.errors import DataError, short
from ablatent.core.files import read_json
from ablatent.store.identity import FileName, Key, Name, SweepId

R = TypeVar("R", bound="Record")
ABSENT: Mapping[str, Any] = MappingProxyType({})
"""The value of a mapping that the file does not have, which `to_json` therefore leaves out."""
WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


class Record:
    """Base of the records: frozen dataclasses. A field with a default may be missing in the file."""

    @classmethod
    def from_json(cls: type[R], value: Any, where: str) -> R:
        """The record of a JSON object. where: what the message of an error starts with.

        Raises DataError for a missing or unknown field and for a value of another type.
        """
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: expected an object; got {short(value)}.")
        fields = _fields(cls)  # type: ignore[arg-type]  # mypy takes a class of a type variable for unhashable
        missing = [f"no {name!r}" for name, (_, required) in fields.items() if required and name not in value]
        if wrong := missing or [repr(name) for name in value if name not in fields]:
            do = "Did another version write it?"
            raise DataError(f"{where}: expected the fields {', '.join(fields)}; got {wrong[0]}. {do}")
        given = {n: _read(kind, value[n], f"{where}: {n}") for n, (kind, _) in fields.items() if n in value}
        return cls(**given)

    @classmethod
    def read(cls: type[R], path: Path) -> R:
        """The record in a file. Raises DataError for one that cannot be read or is not of this shape."""
        where = f"{path.parent.name}/{path.name}"
        try:
            value = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{where}: expected a JSON object; got {error}.") from None
        return cls.from_json(value, where)

    def to_json(self) -> dict[str, Any]:
        """What the file holds: every field, but those with a default that have no value."""
        fields = [(f, getattr(self, f.name)) for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        return {
            field.name: _plain(value)
            for field, value in fields
            if value is not ABSENT and (value is not None or field.default is dataclasses.MISSING)
        }


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Name → (type, whether the file must have it) of a record's fields."""
    kinds = typing.get_type_hints(cls)
    required = (dataclasses.MISSING, dataclasses.MISSING)
    return {f.name: (kinds[f.name], (f.default, f.default_factory) == required) for f in dataclasses.fields(cls)}


def _read(kind: Any, value: Any, where: str) -> Any:
    """`value` if it is of the type `kind`, with records in place of the objects that are some. Raises DataError."""
    return _reader(kind)(value, where)


@functools.cache
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    """`_read` for one type: a store has many records, so what follows from the type alone is found once."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value, where: value
    if origin is types.UnionType:  # the only union here is with None
        some = _reader(inner[0])
        return lambda value, where: None if value is None else some(value, where)
    if origin is list:
        return functools.partial(_read_list, _reader(inner[0]))
    if origin is Mapping:
        return functools.partial(_read_mapping, inner[0], inner[1])
    if issubclass(kind, Record):
        return kind.from_json
    return functools.partial(_read_name if issubclass(kind, Name) else _read_plain, kind)


def _read_list(item: Callable[[Any, str], Any], value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list; got {short(value)}.")
    return [item(v, f"{where}[{i}]") for i, v in enumerate(value)]


def _read_mapping(key: Any, item: Any, value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected an object; got {short(value)}.")
    if item is Any and key is str and all(type(k) is str for k in value):
        return dict(value)
    name, read = _reader(key), _reader(item)
    return {name(k, where): read(v, f"{where}.{k}") for k, v in value.items()}


def _read_name(kind: type[Name], value: Any, where: str) -> Name:
    try:
        return kind(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    if type(value) is kind:
        return value
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: expected {WORDS[kind]}; got {short(value)}.")
    try:
        return float(value) if kind is float else value
    except OverflowError:
        raise DataError(f"{where}: expected a number; got {short(value)}.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


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
