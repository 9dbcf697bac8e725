"""What is published of a sweep, in plain values: gathered from the store, and the same for whatever server takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablatent.tracking.overview import SweepOverview


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """A run of the sweep. config: values that its configuration gets beside those that it has; group: its sweep."""

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file of an artifact: its name there, where it lies, bytes, and the hex digest of their SHA-256."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PublishedArtifact:
    """A stage as an artifact. key: of the stage; name, type: of the artifact, which never change for what it holds;
    run: that has it as its output; inputs: keys of the stages that the run took; metadata: what decided it."""

    key: str
    name: str
    type: str
    run: PublishedRun
    inputs: Sequence[str]
    metadata: Mapping[str, Any]
    files: Sequence[PublishedFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class PublishedClaim:
    """A claim of an experiment: what it states, what the sweep's numbers say, and a line for each contrast."""

    name: str
    statement: str
    verdict: str
    contrasts: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A sweep as it is published. runs: of its trained stages, then of its jobs; artifacts: inputs before those that
    read them; results, remarks, code: lines of Markdown; command: as typed; title, question: plain text."""

    overview: SweepOverview
    title: str
    question: str
    created: str
    command: str
    claims: Sequence[PublishedClaim]
    results: str
    remarks: Sequence[str]
    code: Sequence[str]
    runs: Sequence[PublishedRun]
    artifacts: Sequence[PublishedArtifact]
