"""The next command: one line at the end of a command, as it would be typed, and in the message of a signal's end."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ablatent.core.escape import for_console, one_line
from ablatent.core.here import program
from ablatent.core.progress import console
from ablatent.core.signals import going_on_by
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.store.identity import SweepId
from ablatent.store.layout import PLAN, sweep_folder
from ablatent.store.records import PlanRecord
from ablatent.store.sweeps import job_records

_several: list[bool] = []

PLACES = ("store", "store.path", "hydra.searchpath")
"""Keys that say where things are: the next command needs them again."""


def next_command(words: Sequence[str], typed: Sequence[str] = ()) -> str:
    """A command of these words, quoted for a shell. typed: the arguments of this command, of which the places of store
    and configuration are repeated."""
    keys = {word.partition("=")[0] for word in words}
    places = [w for w in typed if (key := w.partition("=")[0].lstrip("+")) in PLACES and key not in keys]
    return f"{program()} {shlex.join([*words, *places])}"


@contextmanager
def one_of_several() -> Iterator[None]:
    """A block in which runs are parts of a longer command (the batches of a search): none names a next one."""
    _several.append(True)
    try:
        yield
    finally:
        _several.pop()


@contextmanager
def going_on(words: Sequence[str], typed: Sequence[str]) -> Iterator[None]:
    """A block whose end by a signal names this command in place of the one that was typed."""
    with nullcontext() if _several else going_on_by(next_command(words, typed)):
        yield


def tell_next(words: Sequence[str], typed: Sequence[str]) -> None:
    """Print the line of the next command; nothing without words."""
    if words and not _several:
        console.print(for_console(f"next: {one_line(next_command(words, typed))}"), soft_wrap=True)


def after_sweep(root: Path, sweep: SweepId) -> list[str]:
    """The words of the command after a sweep of the store at `root`: to try again what failed; to draw from its model,
    where it has one job; else to see its jobs."""
    if any(record.status == "failed" for record in job_records(root, sweep)):
        return ["do=retry", f"sweep={sweep}"]
    jobs = PlanRecord.read(sweep_folder(root, sweep) / PLAN).jobs
    if len(jobs) == 1 and DiffusionKind.name in jobs[0].stages:
        return ["do=sample", f"model={sweep}"]
    return ["do=status", f"sweep={sweep}"]
