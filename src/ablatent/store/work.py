"""The folder of a build in progress."""

import shutil
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablatent.core.blocks import Blocks
from ablatent.core.disk import DiskFull
from ablatent.core.errors import AblatentError, StageError
from ablatent.core.files import read_json, read_word, sha256, sync, write_atomic, write_json
from ablatent.store.identity import Key, digest
from ablatent.store.layout import CHECKPOINTS, checkpoints_of
from ablatent.store.records import Manifest
from ablatent.store.verify import MANIFEST

BLOCKS, SPENT, USES, ERROR = "blocks", "resumed_seconds", "uses.json", "error.json"  # beside the files of a build


class Superseded(AblatentError):
    """Another process took this build over (this one's parent was killed); it must not write any more."""


@dataclass(frozen=True)
class Work:
    """The folder of a build. `files` becomes the object; everything beside it is scratch that survives a kill."""

    key: Key
    path: Path
    token: str
    attempt: str

    @property
    def files(self) -> Path:
        """The folder that is published as the object."""
        return self.path / "files"

    @property
    def checkpoint(self) -> Path:
        """The file from which a killed build resumes."""
        return self.path / CHECKPOINTS[0]

    def blocks(self, name: str, title: str) -> Blocks:
        """The finished part of a long computation of this build. name: of it; title: for messages."""
        blocks = Blocks(self.path / BLOCKS / name, title, self.check)
        if blocks.seconds:
            write_atomic(self.path / SPENT, str(self.spent_before() + blocks.seconds).encode())
        return blocks

    @property
    def begun(self) -> bool:
        """Whether there is anything that a killed build resumes from."""
        return bool(checkpoints_of(self.path)) or (self.path / BLOCKS).exists()

    def start_anew(self) -> None:
        """Remove what a killed build left."""
        for checkpoint in checkpoints_of(self.path):
            checkpoint.unlink()
        shutil.rmtree(self.path / BLOCKS, ignore_errors=True)
        shutil.rmtree(self.files)
        self.files.mkdir()

    def spent_before(self) -> float:
        """Seconds that killed builds had spent on what this one resumed from."""
        return float(read_word(self.path / SPENT, r"\d+(\.\d+)?(e-?\d+)?") or 0)

    def check(self) -> None:
        """Call before every checkpoint and publish. Raises Superseded in an orphan of a killed build."""
        if read_word(self.path / "token", self.token) is None:
            raise Superseded(f"{self.key}: another process took this build over; nothing more is written by this one.")

    def add_use(self, name: str, key: Key) -> None:
        """Note for the manifest an object that this build used beside the inputs of its stage. name: of the use."""
        write_json(self.path / USES, {**self._uses(), name: key})

    def _uses(self) -> dict[str, Any]:
        """Name → key; empty where the note is damaged, since it is made again by whoever uses an object."""
        try:
            return dict(read_json(self.path / USES))
        except (OSError, ValueError, TypeError):
            return {}

    def leave_error(self, invocation: str, error: BaseException) -> None:
        """Leave a note for those who wait for this build; half files are removed where the disk is full."""
        trace = "".join(traceback.format_exception(error))
        note = {"invocation": invocation, "time": time.time(), "message": str(error), "traceback": trace}
        if isinstance(error, DiskFull) and not self.begun:
            shutil.rmtree(self.path, ignore_errors=True)  # half files, which take the space that others need
        with suppress(OSError, DiskFull):
            self.path.mkdir(exist_ok=True)
            write_json(self.path / ERROR, note)

    def seal(self, record: Mapping[str, Any]) -> Manifest:
        """Write all files to disk, and their manifest last. record: its entries beside the files.

        Raises DataError for entries that no manifest has, DiskFull for want of space.
        """
        files = {}
        for path in sorted(p for p in self.files.rglob("*") if p.is_file() and p.name != MANIFEST):
            sync(path)
            name = path.relative_to(self.files).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
        about = {**record, "kind": self.key.kind, "key": self.key, "attempt": self.attempt, "files": files}
        about["created"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if uses := self._uses():
            about["uses"] = uses
        unsealed = Manifest.from_json(about, f"{self.key}: its manifest")
        manifest = replace(unsealed, seal=digest(unsealed.to_json()))
        write_json(self.files / MANIFEST, manifest.to_json())
        sync(self.files)
        return manifest


def replay_error(path: Path, invocation: str, requested_at: float) -> None:
    """Raise StageError with the error that a build of this invocation left since then. path: the folder of the build;
    requested_at: seconds since the epoch."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        error = read_json(path / ERROR)
        if error["time"] >= requested_at and error["invocation"] == invocation:
            raise StageError(str(error["message"]))
