"""The store: artifacts that are whole or not there, built once whoever asks, checked when they are opened.

objects/KIND/KEY/{manifest.json, …}   published, never changed afterwards
work/KEY/{token, attempt, last.ckpt, blocks/, error.json, files/}   a build in progress, from which a killed one resumes
locks/KEY   damaged/KEY-TIME   sweeps/ID   pins/KEY-OR-ID   incoming/KEY (of a pull)   trash/
"""

import errno
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablatent.core.disk import full_disk_named
from ablatent.core.errors import AblatentError, ConfigError, StageError
from ablatent.core.escape import for_console
from ablatent.core.files import read_json, read_word, sync, write_atomic
from ablatent.core.progress import console
from ablatent.store.group import share_with_group
from ablatent.store.identity import Key
from ablatent.store.layout import lock_file, locks_folder, object_folder, work_folder
from ablatent.store.locks import locked, locks_work
from ablatent.store.private import workplace
from ablatent.store.records import Manifest
from ablatent.store.verify import Damaged, verify
from ablatent.store.work import ERROR, SPENT, USES, Work, replay_error

FORMAT, FORMAT_FILE = 2, "FORMAT"
"""Of the store's layout, keys and names of files; the file stands at the root of the store."""


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
        share_with_group(self.root)
        probe = locks_folder(self.root) / f".probe-{uuid.uuid4().hex}"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        locks_work(probe.parent)
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
        record: Callable[[Work], Mapping[str, Any]] = lambda work: {},
        invocation: str = "",
        wait: bool = True,
    ) -> tuple[Artifact, bool]:
        """find → lock → find again → build in a work folder → manifest last → fsync → one rename.

        build writes the object's files into work.files, and may leave work.checkpoint to resume from; record gives
        the manifest's entries beside the files. Returns the artifact and whether it is that of this call. A failed
        build leaves error.json, which callers of the same `invocation` that waited for it raise again. wait: false:
        raise Busy where another process builds it. Raises ConfigError for a store that cannot be written, DiskFull for
        want of space: half files are removed then.
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
            with workplace(self.root, key) as place:
                replay_error(place, invocation, requested_at)
                work = self._begin(key, place)
                spent = self._built(work, build, invocation)
                return self._publish(work, {**record(work), "wall_seconds": round(spent, 3)})

    @staticmethod
    def _built(work: Work, build: Callable[[Work], None], invocation: str) -> float:
        """Seconds that the build took, with those of killed ones that it went on from. Raises what `build` does."""
        start = time.monotonic()
        try:
            with full_disk_named(work.path):
                build(work)
        except AblatentError as e:
            work.leave_error(invocation, e)
            raise
        except Exception as e:
            work.leave_error(invocation, e)
            raise StageError(f"{work.key}: {type(e).__name__}: {e}") from e
        return time.monotonic() - start + work.spent_before()

    def _begin(self, key: Key, path: Path) -> Work:
        self._mark_format()
        if path.exists() and not (path / "files").exists():  # left over by one that was killed after it had published
            shutil.rmtree(path)
        (path / "files").mkdir(parents=True, exist_ok=True)
        for name in (ERROR, SPENT, USES):
            (path / name).unlink(missing_ok=True)
        attempt = read_word(path / "attempt", "[0-9a-f]{12}")
        if attempt is None:
            attempt = uuid.uuid4().hex[:12]
            write_atomic(path / "attempt", attempt.encode())
        token = uuid.uuid4().hex
        write_atomic(path / "token", token.encode())
        return Work(key, path, token, attempt)

    def _publish(self, work: Work, record: Mapping[str, Any]) -> tuple[Artifact, bool]:
        """The object, and whether it is that of this build: another may have come first, where there are no locks."""
        work.check()
        manifest = work.seal(record)
        mine = self.put(work.key, work.files)
        shutil.rmtree(work.path, ignore_errors=True)
        if mine:
            self._verified[work.key] = Artifact(work.key, self.folder(work.key), manifest)
        return self.open(work.key), mine

    def put(self, key: Key, files: Path) -> bool:
        """Publish a folder of files with their manifest by one rename; false where a whole object is there already, and
        the folder stays where it is."""
        target = self.folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or self.find(key) is None:
                raise
            return False
        sync(target.parent)
        return True
