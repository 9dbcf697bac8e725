"""``python -m ablatent.build SPEC.json``: build one stage anywhere.

SPEC.json: {"stage": an entry of `stages` in plan.json, "store": PATH, "runtime": {…}, "invocation": ID}, and what else
`store.records.BuildRecord` has. Its inputs must be in the store. Exit code 0: the stage is in the store; 1: it failed,
with a message.

``python -m ablatent.build --answers=FD``: a worker. It reads a line {"spec": PATH, "log": PATH} for each stage from its
standard input, and writes a byte to the file descriptor at the end of each. The end of its input ends it, also in the
middle of a build, which leaves its checkpoint.
"""

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path

from ablatent.core.errors import AblatentError
from ablatent.core.escape import for_console
from ablatent.core.files import print_into
from ablatent.core.progress import console
from ablatent.core.signals import end_on_signals


def main(path: str) -> int:
    """Build the stage that the JSON file at `path` describes; 0 where it is in the store afterwards, else 1."""
    from ablatent.sweep.worker import build_spec

    try:
        return 0 if build_spec(Path(path)).status in ("built", "found") else 1
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}")
        return 1


def serve(answers: int) -> None:
    """Build what the standard input names, until it ends. answers: the file descriptor that gets a byte for each."""
    from ablatent.sweep.worker import build_spec

    tasks: queue.Queue[dict[str, str] | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(tasks, busy), name="tasks", daemon=True).start()
    while (task := tasks.get()) is not None:
        print_into(Path(task["log"]))
        try:
            build_spec(Path(task["spec"]))
        finally:
            sys.stdout.flush()
            busy.clear()
            os.write(answers, b".")


def _read(tasks: "queue.Queue[dict[str, str] | None]", busy: threading.Event) -> None:
    """The thread that reads the standard input. Nobody wants the outcome of a build that is running at its end: whoever
    did is gone."""
    for line in sys.stdin.buffer:
        busy.set()
        tasks.put(json.loads(line))
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    tasks.put(None)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ablatent.build SPEC.json")
    option, _, value = sys.argv[1].partition("=")
    end_on_signals()  # before the imports, which take seconds
    if option == "--answers":
        serve(int(value))
    else:
        sys.exit(main(sys.argv[1]))
