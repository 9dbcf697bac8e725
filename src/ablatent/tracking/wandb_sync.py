"""Runs on this disk that W&B's own command uploads: which there are, and the upload."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablatent.core.progress import track
from ablatent.core.signals import before_end

AT_ONCE = 5
"""Runs that are uploaded at the same time."""
POLL_SECONDS = 0.2
RETRIES = {
    "WANDB__GRAPHQL_RETRY_MAX": "4",
    "WANDB__FILE_STREAM_RETRY_MAX": "4",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "4",
}
"""W&B by itself tries for hours: here a server that is gone is named within minutes, and the same command goes on."""


@dataclass(frozen=True)
class LocalRun:
    """A run in a folder of this disk. online: it was written to the server while it went on."""

    id: str
    folder: Path
    online: bool

    @property
    def synced(self) -> bool:
        """Whether the server has all of it, as W&B's command noted in a file beside it."""
        return any(self.folder.glob("*.wandb.synced"))

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


def local_runs(roots: Iterable[Path], ids: Iterable[str]) -> list[LocalRun]:
    """The folders of runs below ROOT/wandb, of each id in order; an id may have several, or none."""
    roots = list(dict.fromkeys(roots))
    return [run for id in ids for root in roots for run in _folders(root / "wandb", id)]


def _folders(root: Path, id: str) -> Iterator[LocalRun]:
    # W&B adds -1, -2, ... to the name where a run with the same id began in the same second.
    for pattern in (f"*run-*-{id}", f"*run-*-{id}-[0-9]*"):
        for folder in sorted(root.glob(pattern)):
            if any(folder.glob("*.wandb")):
                yield LocalRun(id, folder, online=not folder.name.startswith("offline-"))


def upload(runs: Sequence[LocalRun], project: str, entity: str, again: bool) -> str | None:
    """Upload offline runs by `wandb sync`, with a bar; why some of them did not arrive, None where all did.

    again: also runs that were uploaded before, to another place. Nothing on disk is changed but W&B's notes.
    """
    if again:
        for run in runs:
            for note in run.folder.glob("*.wandb.synced"):
                note.unlink()
    words = ["-m", "wandb", "sync", "-p", project, "-e", entity, "-n", str(AT_ONCE)]
    environment = {**RETRIES, **os.environ}
    with tempfile.TemporaryFile() as output, track("sync", len(runs), "runs") as bar:
        command = [sys.executable, *words, *(str(run.folder) for run in runs)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            with before_end(process.kill):
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    bar.advance(sum(run.synced for run in runs) - bar.done)
        finally:
            process.kill()
            process.wait()
        bar.advance(sum(run.synced for run in runs) - bar.done)
        output.seek(0)
        text = output.read().decode(errors="replace")
    left = [run for run in runs if not run.synced]
    return f"{len(left)} of {len(runs)} runs did not arrive: {_reason(text)}" if left else None


def _reason(text: str) -> str:
    """The last line of W&B's command that names an error, else its last line."""
    lines = [line.strip().removeprefix("wandb: ") for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return (named or lines or ["no reason was given"])[-1]
