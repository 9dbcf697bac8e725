"""A copy of the code for the workers of a sweep: edits made meanwhile do not reach them."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablatent.core.files import write_json
from ablatent.core.here import search_path
from ablatent.core.options import OWN_VARIABLE, ROOT_VARIABLE, SEARCHPATH_VARIABLE, command_root, own_folder
from ablatent.core.progress import warn_once
from ablatent.core.source import file_of
from ablatent.stages.provenance import GIT_FILE, git_state, modules_of
from ablatent.stages.stage import Stage
from ablatent.store.code import PACKAGE, reached
from ablatent.store.layout import code_folder

LARGEST = 50 * 2**20
"""Bytes of a user's package: a larger one is not copied."""


def worker_environment(root: Path, stages: Iterable[Stage]) -> dict[str, str]:
    """The variables by which workers import the code as it is now, from a copy in the store at `root`.

    Copied are this package, and the user's own modules that these stages reach by imports, each with the whole folder
    of its package. All else is imported from where it is.
    """
    folder = snapshot(root, stages)
    known, own = os.environ.get(SEARCHPATH_VARIABLE, ""), own_folder()
    return {
        ROOT_VARIABLE: str(command_root().absolute()),
        OWN_VARIABLE: "" if own is None else str(own.absolute()),
        "PYTHONPATH": os.pathsep.join([str(folder), search_path()]),
        SEARCHPATH_VARIABLE: os.pathsep.join(p for p in (str(folder / "conf"), known) if p),
    }


def snapshot(root: Path, stages: Iterable[Stage]) -> Path:
    """The folder of the copy: one for the same code, whichever sweep wants it."""
    places = [Path(__file__).parents[1], *_own_code(stages)]
    files = [(place.parent, path) for place in places for path in _files(place)]
    digest = hashlib.blake2b(digest_size=16)
    for above, path in files:
        digest.update(f"{path.relative_to(above)}\n".encode() + hashlib.blake2b(path.read_bytes()).digest())
    copy = code_folder(root.absolute()) / digest.hexdigest()
    if not copy.exists():
        part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}.part")
        for above, path in files:
            target = part / "src" / path.relative_to(above)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        write_json(part / GIT_FILE, git_state())
        try:
            part.rename(copy)
        except OSError:  # another command has made it meanwhile
            shutil.rmtree(part)
    os.utime(copy)  # for do=gc: it is in use
    return copy / "src"


def _own_code(stages: Iterable[Stage]) -> Iterator[Path]:
    """The folders of packages, and the files of modules, that are a user's own."""
    modules = {module for stage in stages for module in modules_of(stage)}
    for top in sorted({name.partition(".")[0] for name in reached(modules)} - {PACKAGE}):
        file = file_of(top)
        if file is None:
            continue
        place = file.parent if file.name == "__init__.py" else file
        if sum(path.stat().st_size for path in _files(place)) > LARGEST:
            warn_once(f"{place} is larger than {LARGEST >> 20} MiB, and is not copied: edits reach this sweep.")
        else:
            yield place


def _files(place: Path) -> Iterator[Path]:
    """A file, or all files below a folder, but those that Python has compiled."""
    if place.is_file():
        yield place
        return
    yield from sorted(p for p in place.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
