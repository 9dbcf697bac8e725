"""What a worker of Ray does: it has a process of its own machine build a stage, and says how that ended.

A process of its own, since Ray owns the signals of its worker, and so that its memory is free afterwards. One waits for
the next stage that is not trained, with its imports and loaded networks. It ends when this worker does, however that
ended, since its input ends then. Imports the standard library alone.
"""

import json
import select
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from ablatent.core.here import PLACE
from ablatent.executors.worker_process import ended_by, kill, launch, memory_of

LOOK_SECONDS = 0.2
MEMORY_SECONDS = 1.0
LEAVE_SECONDS = 8.0
"""A build that is cancelled has so long to leave its checkpoint."""


@dataclass(frozen=True)
class RayTask:
    """A build for a worker of Ray. spec, log: files of the build; trained: whether the process is to be new, and used
    for nothing else; threads: of torch; gpus: whether it has any; memory: GiB that it may take, and that `bound`, for
    messages; cwd: working directory; variables: of the environment."""

    spec: str
    log: str
    trained: bool
    threads: int
    gpus: bool
    memory: float | None
    bound: str
    cwd: str
    variables: dict[str, str]


@dataclass(frozen=True)
class Ended:
    """How a build left its process. reason: what ended it, empty where it came to its end; again: whether another
    process may try."""

    reason: str = ""
    again: bool = True


@dataclass
class _Child:
    """A process that builds stages. environment: which it was started with."""

    process: "subprocess.Popen[bytes]"
    requests: IO[bytes]
    answers: IO[bytes]
    environment: dict[str, str]


_waiting: list[_Child] = []
"""The process that waits for the next stage, if there is one."""


def build(task: RayTask, node: str) -> Ended:
    """Have a stage built. node: name of this node, for people. A cancelled build leaves its checkpoint."""
    environment = {"OMP_NUM_THREADS": str(task.threads), **task.variables, PLACE: node}
    if not task.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    child = _child(environment, task)
    try:
        with suppress(BrokenPipeError):  # it has just died, which is seen below
            child.requests.write(json.dumps({"spec": task.spec, "log": task.log}).encode() + b"\n")
        ended = _wait(child, task)
    except BaseException:  # Ray cancels by a KeyboardInterrupt
        _end(child, LEAVE_SECONDS)
        raise
    if ended.reason or task.trained:
        _end(child, LEAVE_SECONDS)
    else:
        _waiting.append(child)
    return ended


def _child(environment: dict[str, str], task: RayTask) -> _Child:
    """The waiting process where it serves, else a new one."""
    while _waiting:
        child = _waiting.pop()
        if not task.trained and child.environment == environment and child.process.poll() is None:
            return child
        _end(child, LEAVE_SECONDS)
    return _Child(*launch(environment, task.log, task.cwd), environment)


def _wait(child: _Child, task: RayTask) -> Ended:
    """Until the build ends. Looks often: an interrupt waits for the end of a system call."""
    weighed = time.monotonic()
    while not select.select([child.answers], [], [], LOOK_SECONDS)[0]:
        if task.memory is not None and time.monotonic() - weighed > MEMORY_SECONDS:
            weighed = time.monotonic()
            if (taken := memory_of(child.process.pid)) > task.memory:
                kill(child.process)
                return Ended(f"it took {taken:.2f} GiB of memory; {task.bound}", again=False)
    return Ended() if child.answers.read(1) else Ended(ended_by(child.process.wait()))


def _end(child: _Child, timeout: float) -> None:
    """End a process: at once where it waits for a stage, by a signal where it still builds one; by force in the end."""
    with suppress(OSError):
        child.requests.close()
    end = time.monotonic() + timeout
    while child.process.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_SECONDS / 4)
    kill(child.process)
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(1.0)
    child.answers.close()


def node_name() -> str:
    """This node, for people: its address and the first digits of its id."""
    import ray

    context = ray.get_runtime_context()
    return f"{ray.util.get_node_ip_address()}/{context.get_node_id()[:8]}"


def run(task: RayTask) -> Ended:
    """`build`, as the function of a task of Ray."""
    return build(task, node_name())
