"""The process of a worker on the machine where it runs: how it is started, weighed and ended.

Used by the process that gives it stages, which may be a worker of Ray: imports the standard library alone.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

GIB = 2**30


def launch(
    environment: Mapping[str, str], output: str, cwd: str | None = None
) -> tuple["subprocess.Popen[bytes]", IO[bytes], IO[bytes]]:
    """Start a worker (``python -m ablatent.build --answers=FD``): the process, its requests and its answers.

    environment: beside, and before, that of this process; output: the file that gets what it prints before its first
    stage; cwd: its working directory, None for that of this process.
    """
    reading, writing = os.pipe()
    requests = os.pipe()
    with open(output, "ab") as log:  # noqa: PTH123  # pathlib is not needed for more
        process = subprocess.Popen(
            [sys.executable, "-m", "ablatent.build", f"--answers={writing}"],
            stdin=requests[0],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            cwd=cwd,
            pass_fds=[writing],
            start_new_session=True,  # what is typed on the terminal is for the process above, which ends them
        )
    os.close(writing)
    os.close(requests[0])
    return process, os.fdopen(requests[1], "wb", buffering=0), os.fdopen(reading, "rb", buffering=0)


def memory_of(pid: int) -> float:
    """GiB of memory that a process and all below it take; 0 where it has gone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        taken: int = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
        return taken / GIB
    return 0.0


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a worker at once, with the processes that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def ended_by(code: int) -> str:
    """What an exit code of a process says."""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with code {code}"
