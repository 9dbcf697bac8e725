"""Where the stages of a running sweep stand, in small files that any process can read: there is no server.

sweeps/ID/driver.json   the command that runs it; its `beat` counts on while it lives
sweeps/ID/stages/KEY.json   where a stage stands   sweeps/ID/beats/KEY.json   that its build is alive, and how far it is
sweeps/ID/cancel   asks the command to end as by SIGTERM
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ablatent.core.disk import DiskFull
from ablatent.core.errors import DataError
from ablatent.core.files import write_json
from ablatent.core.here import host, lives, place
from ablatent.core.progress import open_bar
from ablatent.store.identity import Key
from ablatent.store.layout import sweeps_folder
from ablatent.store.records import Driver, Heartbeat, StageOutcome, StageState

DRIVER, CANCEL = "driver.json", "cancel"
BEAT_SECONDS = 2.0
SILENT_SECONDS = 60.0
"""A driver on another machine whose beat stands still for so long is taken for dead."""


class Journal:
    """Writes where the stages of one sweep stand. folder: of the sweep's record."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.states: dict[Key, StageState] = {}

    def begin(self, key: Key, where: str = "", attempt: int = 1) -> None:
        """A build has begun. where: host and process, or job."""
        self._write(key, StageState(status="running", where=where or place(), attempt=attempt))

    def waits(self, key: Key, status: str, message: str, attempt: int = 1) -> None:
        """A stage is not being built by this sweep now. status: waiting | elsewhere | stopped."""
        if (known := self.states.get(key)) is None or known.status != status:
            self._write(key, StageState(status=status, attempt=attempt, message=message))

    def end(self, key: Key, outcome: StageOutcome) -> None:
        """A stage was found, built, has failed, or is skipped."""
        known = self.states.get(key, StageState(status=""))
        message = outcome.error.message if outcome.error else ""
        state = StageState(
            status=outcome.status,
            where=known.where,
            attempt=known.attempt,
            seconds=round(outcome.seconds, 3),
            message=message,
        )
        self._write(key, state)
        self.beat_file(key).unlink(missing_ok=True)

    def beat_file(self, key: Key) -> Path:
        """The file of the heartbeat of a build."""
        return self.folder / "beats" / f"{key}.json"

    def _write(self, key: Key, state: StageState) -> None:
        self.states[key] = state = replace(state, time=round(time.time(), 3))
        path = self.folder / "stages" / f"{key}.json"
        with suppress(OSError, DiskFull):  # a full disk ends builds, not the sweep that waits for them
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, state.to_json(), lasting=False)

    @contextmanager
    def driven(self, executor: str) -> Iterator[None]:
        """While inside, driver.json says that this process runs the sweep, and a file `cancel` ends it; `left` says how
        it ended."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / CANCEL).unlink(missing_ok=True)
        driver = Driver(host=host(), pid=os.getpid(), began=time.time(), executor=executor)

        def beat(number: int) -> None:
            write_json(self.folder / DRIVER, replace(driver, beat=number).to_json(), lasting=False)
            if (self.folder / CANCEL).exists():
                os.kill(os.getpid(), signal.SIGTERM)

        with _repeated(beat):
            yield

    def left(self, code: int) -> None:
        """Note the exit code of the command."""
        with suppress(DataError, OSError, DiskFull):
            driver = replace(Driver.read(self.folder / DRIVER), code=code)
            write_json(self.folder / DRIVER, driver.to_json(), lasting=False)


@contextmanager
def beating(path: Path | None) -> Iterator[None]:
    """While inside, a file counts on and says how far the work of this process is. path: None for no file."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _repeated(lambda n: write_json(path, _heartbeat(n).to_json(), lasting=False)):
        yield


def _heartbeat(beat: int) -> Heartbeat:
    bar = open_bar()
    if bar is None:
        return Heartbeat(beat=beat, where=place())
    return Heartbeat(
        beat=beat,
        where=place(),
        title=bar.title,
        done=bar.done,
        total=bar.total,
        unit=bar.unit,
        rate=round(bar.rate, 4),
    )


@contextmanager
def _repeated(write: Callable[[int], None]) -> Iterator[None]:
    """Call a function at once with 0, then with 1, 2, … every BEAT_SECONDS, by a thread; errors of files are left to
    others: what is shown of a work must not end it."""
    ended = threading.Event()

    def repeat() -> None:
        number = 0
        while not ended.wait(BEAT_SECONDS):
            number += 1
            with suppress(OSError, DiskFull):
                write(number)

    with suppress(OSError, DiskFull):
        write(0)
    thread = threading.Thread(target=repeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def driver_of(folder: Path) -> Driver | None:
    """The command that ran a sweep last; None for a sweep without such a file, or with a damaged one."""
    try:
        return Driver.read(folder / DRIVER)
    except DataError:
        return None


def is_driven(folder: Path) -> bool:
    """Whether a command runs a sweep now: its file is fresh, and where it runs on this machine, its process is there.

    folder: of the sweep's record.
    """
    driver = driver_of(folder)
    if driver is None or driver.code is not None or (driver.host == host() and not lives(driver.pid, driver.began)):
        return False
    with suppress(OSError):
        return time.time() - (folder / DRIVER).stat().st_mtime < SILENT_SECONDS
    return False


def states_of(folder: Path) -> dict[Key, StageState]:
    """key → where each stage of a sweep stands that was looked at; what cannot be read is left out."""
    found = {}
    for path in sorted((folder / "stages").glob("*.json")):
        with suppress(DataError):
            found[Key(path.stem)] = StageState.read(path)
    return found


def newest_heartbeat(root: Path, key: Key) -> Heartbeat | None:
    """The heartbeat that was written last of all builds of a stage, by whichever sweep of the store at `root`."""
    beats = {path: path.stat().st_mtime for path in sweeps_folder(root).glob(f"*/beats/{key}.json") if path.exists()}
    return heartbeat_of(max(beats, key=lambda path: beats[path])) if beats else None


def heartbeat_of(path: Path) -> Heartbeat | None:
    """The heartbeat in a file; None where there is none, or a damaged one."""
    try:
        return Heartbeat.read(path)
    except DataError:
        return None
