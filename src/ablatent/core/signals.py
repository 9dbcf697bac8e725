"""The end of a command by a signal, in every phase: one line, exit code 128 + signal, within seconds.

Python runs a handler between two instructions of the main thread, which a long computation, a library's handler or an
exception on its way up can keep waiting. So handlers do nothing here, and a thread that the signal wakes ends the
process: what is in the store is whole at any moment, and nothing has to be put away. Imports nothing slow.
"""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
GRACE = 5.0
"""Seconds that work which can be stopped in order has to come to a place where it can."""

_stop, _stopped = threading.Event(), threading.Event()
_stoppable: list[float] = []  # the grace of each block of `stoppable` that is being run
_kept: list[str] = []
_go_on: list[str] = []
_before_end: list[Callable[[], object]] = []
CALLS = 3.0
"""Seconds that the calls of all blocks of `before_end` have together."""


def end_on_signals(quiet: bool = False) -> None:
    """From now on, a signal that asks for an end ends this process and those that it started by multiprocessing.

    To be called by the main thread, first of all. Signals that whoever started the process wants ignored (nohup) stay
    so. Children that are forked have the default handlers. quiet: print nothing; for children whose parent does.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _wake)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_default_handlers)
    threading.Thread(target=_wait, args=(reader, quiet), name="signals", daemon=True).start()


def stop_requested() -> bool:
    """Whether a signal wants an end: inside `stoppable`, to be answered by `stop` within GRACE seconds."""
    return _stop.is_set()


@contextmanager
def stoppable(grace: float = GRACE) -> Iterator[None]:
    """A block that looks at `stop_requested`: a signal waits for its `stop`, or its end, up to `grace` seconds."""
    _stoppable.append(grace)
    try:
        yield
    finally:
        if stop_requested():
            stop()
        _stoppable.pop()


@contextmanager
def before_end(call: Callable[[], object]) -> Iterator[None]:
    """A block in which a signal's end first makes this call, from another thread than the block's; its errors are
    dropped, and it is not waited for beyond CALLS."""
    _before_end.append(call)
    try:
        yield
    finally:
        _before_end.remove(call)


@contextmanager
def going_on_by(command: str) -> Iterator[None]:
    """A block whose end by a signal is gone on from by this command, not by the same one again."""
    _go_on.append(command)
    try:
        yield
    finally:
        _go_on.pop()


def stop(kept: str = "") -> NoReturn:
    """End this process as a signal wants. kept: what it leaves to go on from, for the message."""
    _kept.append(kept)
    _stopped.set()
    while True:
        time.sleep(GRACE)


def _wake(*_: object) -> None:
    """That there is a handler makes Python write the signal's number to the thread's pipe."""


def _default_handlers() -> None:
    """In a forked child, which has the handlers and the pipe, but not the thread."""
    signal.set_wakeup_fd(-1)
    for number in ENDING:
        if signal.getsignal(number) is _wake:
            signal.signal(number, signal.SIG_DFL)


def _wait(reader: int, quiet: bool) -> None:
    """The thread: from the first signal on to the end of the process."""
    while (number := os.read(reader, 1)[0]) not in ENDING:
        pass
    _stop.set()
    if _stoppable:
        _stopped.wait(max(_stoppable))
    try:
        calls = threading.Thread(target=_call, args=(list(reversed(_before_end)),), daemon=True)
        calls.start()
        calls.join(CALLS)
        if not quiet:
            # By a thread of its own: whoever reads the output may have stopped reading.
            printing = threading.Thread(target=_print, args=(message(number),), daemon=True)
            printing.start()
            printing.join(1.0)
        _end_children()
    finally:
        os._exit(128 + number)


def _call(calls: Iterable[Callable[[], object]]) -> None:
    for call in calls:
        with suppress(Exception):
            call()


def message(number: int) -> str:
    """The line that a signal's end prints: what is kept, and the command that goes on."""
    kept = ", and ".join(["what was finished", *filter(None, _kept)])
    command = _go_on[-1] if _go_on else shlex.join(sys.orig_argv)
    return f"ended by {signal.Signals(number).name}. Kept: {kept}. To go on: {command}"


def _print(line: str) -> None:
    # Over a progress bar, which has hidden the cursor.
    start = "\r\x1b[K\x1b[?25h" if sys.stdout.isatty() else ""
    try:
        sys.stdout.write(f"{start}{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # nobody reads it, or it is closed
        pass


def _end_children() -> None:
    if "multiprocessing" in sys.modules:
        import multiprocessing

        started = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
        for pid in started:  # not child.kill(), which joblib's do not have
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
