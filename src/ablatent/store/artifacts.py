"""The store: artifacts that are whole or not there, built once whoever asks, checked when they are opened.

objects/KIND/KEY/{manifest.json, …}   published, never changed afterwards
work/KEY/{token, attempt, last.ckpt, blocks/, error.json, files/}   a build in progress, from which a killed one resumes
locks/KEY   damaged/KEY-TIME   sweeps/ID   cache/
"""

import os
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablatent.core.blocks import Blocks
from ablatent.core.disk import DiskFull, full_disk_named
from ablatent.core.errors import AblatentError, ConfigError, StageError
from ablatent.core.escape import for_console
from ablatent.core.files import read_json, read_word, sha256, sync, write_atomic, write_json
from ablatent.core.progress import console
from ablatent.store.identity import Key, digest
from ablatent.store.layout import CHECKPOINTS, checkpoints_of, lock_file, object_folder, work_folder
from ablatent.store.locks import locked
from ablatent.store.records import Manifest
from ablatent.store.verify import MANIFEST, Damaged, verify

BLOCKS, SPENT = "blocks", "resumed_seconds"  # beside the files of a build
FORMAT, FORMAT_FILE = 2, "FORMAT"
"""Of the store's layout, keys and names of files; the file stands at the root of the store."""


class Superseded(AblatentError):
    """Another process took this build over (this one's parent was killed); it must not write any more."""


@dataclass(frozen=True)
class Artifact:
    """A published object: its folder, and its manifest."""

    key: Key
    path: Path
    manifest: Manifest

    @property
    def kind(self) -> str:
        """The kind of stage that it is of."""
        return self.key.kind

    def json(self, name: str) -> Any:
        """The value of one of its JSON files."""
        return read_json(self.path / name)


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


def check_place(root: Path) -> None:
    """Raise ConfigError(store.path) for a path that is no folder, leads through none, or ends at a link to nothing."""
    expected = "a folder, or a path where one can be created"
    try:
        for path in (root, *root.parents):
            if path.is_symlink() and not path.exists():
                do = f"{path} is a link to {path.readlink()}, which is not there."
                raise ConfigError("store.path", expected, str(root), do)
            if path.exists() and not path.is_dir():
                raise ConfigError("store.path", expected, str(root), f"{path} is a file.")
    except OSError as error:
        raise ConfigError("store.path", expected, str(root), f"{error.strerror}: {error.filename}.") from None


def check_format(root: Path) -> None:
    """Raise ConfigError(store.path) for a store whose layout, keys or names of files are those of another format."""
    file = root / FORMAT_FILE
    if file.exists() or (root / "objects").exists():
        found = read_word(file, r"\d+") if file.exists() else "1"
        if found is None:
            do = f"If a version of this format wrote the store, write {FORMAT} into that file."
            raise ConfigError("store.path", "the number of the store's format", f"another text in {file}", do)
        if found != str(FORMAT):
            do = "Choose another folder with store.path=…; what is in this one is read by the version that wrote it."
            raise ConfigError("store.path", f"a store of format {FORMAT}", f"one of format {found}: {root}", do)


class Store:
    """Artifacts under one folder, `root`, which is made when it is not there.

    Whole objects that were opened once are not checked again by the same process. Nothing is written before something
    is built. Raises ConfigError for a path where no folder can be, and for a store of another format.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        check_place(self.root)
        check_format(self.root)
        self._verified: dict[str, Artifact] = {}

    def check_writable(self) -> None:
        """Raises ConfigError(store.path) when nothing can be written at the root, DiskFull for want of space."""
        try:
            with full_disk_named(self.root):
                self._probe()
        except OSError as e:
            do = f"{e.strerror}: {e.filename}. Choose another folder with store.path=…."
            raise ConfigError("store.path", "a folder that can be made and written", str(self.root), do) from None

    def is_writable(self) -> bool:
        """Whether something can be written at the root."""
        try:
            self._probe()
        except OSError:
            return False
        return True

    def _probe(self) -> None:
        probe = self.root / "locks" / f".probe-{os.getpid()}"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        self._mark_format()

    def _mark_format(self) -> None:
        if not (self.root / FORMAT_FILE).exists():
            self.root.mkdir(parents=True, exist_ok=True)
            write_atomic(self.root / FORMAT_FILE, f"{FORMAT}\n".encode())

    def folder(self, key: Key) -> Path:
        """The folder of a published object, whether it is there or not."""
        return object_folder(self.root, key)

    def work_folder(self, key: Key) -> Path:
        """The folder of a build in progress, whether it is there or not."""
        return work_folder(self.root, key)

    def find(self, key: Key) -> Artifact | None:
        """The checked artifact, or None where it is not there or damaged."""
        try:
            return self._checked(key)
        except Damaged:
            return None

    def _checked(self, key: Key) -> Artifact | None:
        """As `find`, but raises Damaged."""
        path = self.folder(key)
        if key not in self._verified and path.exists():
            self._verified[key] = Artifact(key, path, verify(path, key))
        return self._verified.get(key)

    def set_aside(self, key: Key, why: str, unwanted: Callable[[Artifact], bool] = lambda _: False) -> None:
        """Move an object out of the way if it is damaged, or whole but unwanted; nothing is deleted.

        It is looked at again under the lock of its key: another process may have built it anew meanwhile. Raises
        ConfigError for a store that cannot be written.
        """
        self.check_writable()
        with locked(lock_file(self.root, key), key):
            self._verified.pop(key, None)
            path = self.folder(key)
            try:
                if not path.exists() or not unwanted(Artifact(key, path, verify(path, key, everything=True))):
                    return
            except Damaged:
                pass
            self._move_aside(key, why)

    def _move_aside(self, key: Key, why: str) -> None:
        """The lock is held."""
        self._verified.pop(key, None)
        aside = self.root / "damaged" / f"{key}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        self.folder(key).rename(aside)
        console.print(f"  {why} Set aside in {for_console(aside)}; it will be built again.")

    def open(self, key: Key) -> Artifact:
        """The checked artifact; StageError when it is not there."""
        found = self.find(key)
        if found is None:
            do = "Build it first; do=verify names what is damaged."
            raise StageError(f"{key}: expected this {key.kind}, whole, in the store {self.root}; it is not there. {do}")
        return found

    def get_or_build(
        self,
        key: Key,
        build: Callable[[Work], None],
        record: Callable[[], Mapping[str, Any]] = dict,
        invocation: str = "",
        wait: bool = True,
    ) -> tuple[Artifact, bool]:
        """find → lock → find again → build in work/KEY → manifest last → fsync → one rename.

        build writes the object's files into work.files, and may leave work.checkpoint to resume from; record gives
        the manifest's entries beside the files. Returns the artifact and whether this call built it. A failed build
        leaves error.json, which callers of the same `invocation` that waited for it raise again. wait: false: raise
        Busy where another process builds it. Raises ConfigError for a store that cannot be written, DiskFull for want
        of space: half files are removed then.
        """
        if found := self.find(key):
            return found, False
        requested_at = time.time()
        self.check_writable()
        with full_disk_named(self.root), locked(lock_file(self.root, key), key, wait=wait):
            try:
                if found := self._checked(key):
                    return found, False
            except Damaged as e:
                self._move_aside(key, f"[yellow]damaged[/] {e}")
            self._replay_error(key, invocation, requested_at)
            work = self._begin(key)
            try:
                start = time.monotonic()
                with full_disk_named(work.path):
                    build(work)
                spent = time.monotonic() - start + work.spent_before()
            except AblatentError as e:
                self._leave_error(work, invocation, e)
                raise
            except Exception as e:
                self._leave_error(work, invocation, e)
                raise StageError(f"{key}: {type(e).__name__}: {e}") from e
            return self._publish(work, {**record(), "wall_seconds": round(spent, 3)}), True

    def _begin(self, key: Key) -> Work:
        self._mark_format()
        path = self.work_folder(key)
        if path.exists() and not (path / "files").exists():  # left over by one that was killed after it had published
            shutil.rmtree(path)
        (path / "files").mkdir(parents=True, exist_ok=True)
        for name in ("error.json", SPENT):
            (path / name).unlink(missing_ok=True)
        attempt = read_word(path / "attempt", "[0-9a-f]{12}")
        if attempt is None:
            attempt = uuid.uuid4().hex[:12]
            write_atomic(path / "attempt", attempt.encode())
        token = uuid.uuid4().hex
        write_atomic(path / "token", token.encode())
        return Work(key, path, token, attempt)

    def _leave_error(self, work: Work, invocation: str, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error))
        note = {"invocation": invocation, "time": time.time(), "message": str(error), "traceback": trace}
        if isinstance(error, DiskFull) and not work.begun:
            shutil.rmtree(work.path, ignore_errors=True)  # half files, which take the space that others need
        with suppress(OSError, DiskFull):
            work.path.mkdir(exist_ok=True)
            write_json(work.path / "error.json", note)

    def _replay_error(self, key: Key, invocation: str, requested_at: float) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
            error = read_json(self.work_folder(key) / "error.json")
            if error["time"] >= requested_at and error["invocation"] == invocation:
                raise StageError(str(error["message"]))

    def _publish(self, work: Work, record: Mapping[str, Any]) -> Artifact:
        work.check()
        names = sorted(p for p in work.files.rglob("*") if p.is_file() and p.name != MANIFEST)
        files = {}
        for path in names:
            sync(path)
            name = path.relative_to(work.files).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
        about = {**record, "kind": work.key.kind, "key": work.key, "attempt": work.attempt, "files": files}
        about["created"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        unsealed = Manifest.from_json(about, f"{work.key}: its manifest")
        manifest = replace(unsealed, seal=digest(unsealed.to_json()))
        write_json(work.files / MANIFEST, manifest.to_json())
        sync(work.files)
        target = self.folder(work.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        work.files.rename(target)
        sync(target.parent)
        shutil.rmtree(work.path, ignore_errors=True)
        artifact = Artifact(work.key, target, manifest)
        self._verified[work.key] = artifact
        return artifact
