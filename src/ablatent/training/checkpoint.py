"""What a killed training goes on from: a file of plain tensors with its digest, replaced whole, never unpickled.

The one before is kept beside it, for a file whose bytes the disk did not keep.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from ablatent.core.errors import StageError
from ablatent.core.files import replacing, sha256
from ablatent.core.progress import console
from ablatent.store.layout import CHECKPOINTS, built_in, checkpoints_of

MARK = b"\nsha256 "
"""Ends a checkpoint, before the hex digest of all bytes before it. Readers of zip files pass over what follows one."""
TRAILER = len(MARK) + 64


@runtime_checkable
class Scratch(Protocol):
    """What the loop needs of a build's folder (store.Work has it)."""

    @property
    def checkpoint(self) -> Path:
        """The file of the newest checkpoint."""

    @property
    def path(self) -> Path:
        """The folder, named by what is built in it."""

    def check(self) -> None:
        """Raise where another process has taken the build over."""


def write_checkpoint(scratch: Scratch, state: dict[str, Any]) -> None:
    """Replace the checkpoint and keep the one before, unless another process took the build over meanwhile.

    Raises DiskFull for want of space; both are as they were then.
    """
    scratch.check()
    part = scratch.checkpoint.with_suffix(".part")
    with replacing(scratch.checkpoint, part):
        with part.open("wb") as f:
            torch.save({**state, "of": built_in(scratch.path)}, f)
        digest = sha256(part).encode()
        with part.open("ab") as f:
            f.write(MARK + digest)
        scratch.check()
        if scratch.checkpoint.exists():
            scratch.checkpoint.replace(scratch.path / CHECKPOINTS[1])


def read_checkpoint(
    scratch: Scratch, title: str, changed: Callable[[Mapping[str, Any]], str | None] = lambda state: None
) -> dict[str, Any] | None:
    """The newest sound checkpoint of a killed training, None where there is none; unsound ones are set aside.

    changed: gives the name of a file that the training left before this checkpoint and that is not the same any more.
    Raises StageError for one that cannot be read now: it stays where it is.
    """
    refused = False
    for file in checkpoints_of(scratch.path):
        try:
            state, reason = _read(file, built_in(scratch.path), changed)
        except (OSError, MemoryError) as e:
            do = "Try again."
            raise StageError(f"{title}: the checkpoint {file} cannot be read ({type(e).__name__}: {e}). {do}") from e
        if state is not None:
            return state
        aside = file.with_suffix(".refused")
        file.replace(aside)
        console.print(f"  [yellow]{title}: {file.name} was refused[/] ({reason}), and set aside as {aside.name}.")
        refused = True
    if refused:
        console.print(f"  {title}: there is no other checkpoint; the training starts anew.")
    return None


def _read(file: Path, of: str, changed: Callable[[Mapping[str, Any]], str | None]) -> tuple[dict[str, Any] | None, str]:
    """(the state in a file, ""), or (None, why it is not sound). of: the name of what must have left it."""
    size = file.stat().st_size - TRAILER
    with file.open("rb") as f:
        f.seek(max(size, 0))
        trailer = f.read()
    if size <= 0 or trailer != MARK + sha256(file, size).encode():
        return None, "damaged: its bytes are not those that were written"
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        state = {**state, "step": int(state["step"])}
    except (OSError, MemoryError):
        raise
    except Exception as e:
        return None, f"expected plain tensors, without pickled objects: {type(e).__name__}"
    if state.pop("of", of) != of:
        return None, "it is of another stage"
    if name := changed(state):
        return None, f"{name}, which was written before it, is damaged"
    return state, ""
