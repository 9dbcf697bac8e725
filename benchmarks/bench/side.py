"""A side as the measuring process sees it: a process to which turns are given, and whose memory is watched."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.row import Case

BENCHMARKS = Path(__file__).resolve().parents[1]


class SideFailed(Exception):
    """A side ended, or broke: the end of what it printed."""


class Side:
    """Starts the process of one side of a case.

    name: as it is shown; row, side: names of the row and of its side; case: with the root of the code that it runs.
    peak: of memory, in bytes: of the device where it has its own, else anonymous memory of the process tree.
    """

    def __init__(self, name: str, row: str, side: str, case: Case) -> None:
        self.name, self.log = name, case.scratch / "log.txt"
        request = {k: str(v) if isinstance(v, Path) else v for k, v in vars(case).items() if k != "options"}
        commands, answers = os.pipe(), os.pipe()
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(case.root / "src"), str(BENCHMARKS)]),
            "OMP_NUM_THREADS": str(case.threads),
            "BENCH_COMMANDS": str(commands[0]),
            "BENCH_ANSWERS": str(answers[1]),
            "WANDB_MODE": "offline",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.worker", json.dumps({"row": row, "side": side, **request})],
                cwd=case.scratch, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(commands[0], answers[1]),
            )  # fmt: skip
        os.close(commands[0])
        os.close(answers[1])
        self.commands, self.answers = os.fdopen(commands[1], "w", buffering=1), os.fdopen(answers[0], "r")
        self.memory, self.peak = Memory(self.process.pid), 0

    def ready(self) -> None:
        """Wait until the side is prepared; its memory at that point is known then. Raises SideFailed."""
        answer = self._answer()
        self.prepared_seconds, self.units = float(answer["ready"]), float(answer["units"])
        self.memory_before = int(answer["cuda_memory"]) or anonymous(self.process.pid)

    def turn(self, repeats: int) -> float:
        """Seconds of a unit of work, the mean of so many; the peak of memory follows. Raises SideFailed."""
        with self.memory:
            self._say(run=repeats)
            answer = self._answer()
        self.peak = max(self.peak, int(answer["cuda_memory"]) or self.memory.peak)
        return float(answer["seconds"])

    def forget_peak(self) -> None:
        """The peak counts from now on."""
        self.peak = self.memory.peak = 0

    def value(self, path: Path) -> dict[str, np.ndarray]:
        """What must agree with the other sides. Raises SideFailed."""
        self._say(value=str(path))
        self._answer()
        with np.load(path) as file:
            return dict(file)

    def stop(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._say(stop=1)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.commands, self.answers):
            with suppress(OSError):
                pipe.close()

    def _say(self, **command: Any) -> None:
        try:
            print(json.dumps(command), file=self.commands)
        except BrokenPipeError:
            self._fail()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        code = self.process.wait()
        raise SideFailed(f"{self.name} ended with code {code}:\n{self.log.read_text(errors='replace')[-1500:]}")


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory (RssAnon) of a process and those below it: mapped files do not count."""
    total = 0
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total = 1024 * int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text().split())
    return total


class Memory:
    """The peak of a process' anonymous memory within a block, looked at every few milliseconds."""

    every = 0.004

    def __init__(self, pid: int) -> None:
        self.pid, self.peak = pid, 0

    def __enter__(self) -> "Memory":
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        before = 0
        while True:
            begun, now = time.perf_counter(), anonymous(self.pid)
            # Seen twice: a process between fork and exec has all memory of the one above it for an instant.
            self.peak, before = max(self.peak, min(before, now)), now
            # a process tree that takes long to read is read less often
            if self.ended.wait(max(self.every, 20 * (time.perf_counter() - begun))):
                return

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
