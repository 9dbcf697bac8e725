"""What a killed training goes on from: one file of plain tensors, replaced whole, never unpickled."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from ablatent.core.errors import StageError
from ablatent.core.files import sync
from ablatent.core.progress import console


@runtime_checkable
class Scratch(Protocol):
    """What the loop needs of a build's folder (store.Work has it)."""

    @property
    def checkpoint(self) -> Path:
        """The file of the checkpoint."""

    @property
    def path(self) -> Path:
        """The folder."""

    def check(self) -> None:
        """Raise where another process has taken the build over."""


def write_checkpoint(scratch: Scratch, state: dict[str, Any]) -> None:
    """Replace the checkpoint, unless another process took the build over meanwhile."""
    scratch.check()
    part = scratch.checkpoint.with_suffix(".part")
    torch.save(state, part)
    sync(part)
    scratch.check()
    part.replace(scratch.checkpoint)


def read_checkpoint(scratch: Scratch, title: str) -> dict[str, Any] | None:
    """The checkpoint of a killed training, None where there is none, or one that had to be set aside.

    Raises StageError where it cannot be read now: it stays where it is."""
    if not scratch.checkpoint.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(scratch.checkpoint, map_location="cpu", weights_only=True)
        return {**state, "step": int(state["step"])}
    except (OSError, MemoryError) as e:
        reason = f"{type(e).__name__}: {e}"
        raise StageError(f"{title}: the checkpoint {scratch.checkpoint} cannot be read ({reason}). Try again.") from e
    except Exception as e:
        aside = scratch.checkpoint.with_suffix(".refused")
        scratch.checkpoint.replace(aside)
        console.print(
            f"  [yellow]{title}: the checkpoint was refused[/] (expected plain tensors, without pickled objects: "
            f"{type(e).__name__}). It was set aside as {aside.name}; the training starts anew."
        )
        return None
