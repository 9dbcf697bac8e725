"""The process of one side: `python -m bench.worker REQUEST`, started by `side.py`, which it answers through pipes.

Commands come as JSON lines: {"run": k} times k units of work, {"value": PATH} writes what must agree to a .npz file,
{"stop": 1} ends the process.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from bench.row import At, Case, Prepared, load_row


class Turns:
    """Called before each unit of work: reports the turn that has ended, and waits for the next command."""

    def __init__(self, prepared: Prepared, cuda: bool) -> None:
        self.prepared, self.cuda = prepared, cuda
        self.left, self.count, self.counted = 0, 0, 0.0
        self.commands = os.fdopen(int(os.environ["BENCH_COMMANDS"]), "r")
        self.answers = os.fdopen(int(os.environ["BENCH_ANSWERS"]), "w", buffering=1)

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            return
        if self.count:
            if self.cuda:
                torch.cuda.synchronize()
            passed = self.counted or time.perf_counter() - self.start
            seconds = passed / self.count * self.prepared.times
            self.answer(seconds=seconds, cuda_memory=self.device_memory())
        self._wait()

    def device_memory(self) -> int:
        """The peak on the device in bytes, 0 where it is the CPU."""
        return torch.cuda.max_memory_allocated() if self.cuda else 0

    def answer(self, **values: Any) -> None:
        """One line to the parent."""
        print(json.dumps(values), file=self.answers)

    def _wait(self) -> None:
        for line in self.commands:
            command = json.loads(line)
            if "run" in command:
                self.count, self.counted = int(command["run"]), 0.0
                self.left = self.count - 1
                if self.cuda:
                    torch.cuda.reset_peak_memory_stats()
                self.start = time.perf_counter()
                return
            if "value" in command:
                values = {} if self.prepared.value is None else self.prepared.value()
                np.savez(command["value"], **values)
                self.answer(done=1)
            else:
                break
        _end()


def _end() -> NoReturn:
    # A loop that is in the middle of a training has nothing to finish.
    sys.stdout.flush()
    os._exit(0)


def main(request: dict[str, Any]) -> None:
    """Prepare the side, say that it is ready, and take turns."""
    began = time.perf_counter()
    row = load_row(request.pop("row"))
    side = row.sides[request.pop("side")]
    paths = {name: Path(request.pop(name)) for name in ("root", "scratch", "shared")}
    case = Case(options=row.cases[request["name"]], **request, **paths)
    torch.set_num_threads(case.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    prepared = (side.maker if isinstance(side, At) else side)(case)
    turns = Turns(prepared, case.device == "cuda")
    gc.collect()
    turns.answer(ready=time.perf_counter() - began, units=prepared.units, cuda_memory=turns.device_memory())
    if prepared.loop is not None:
        prepared.loop(turns)
        raise RuntimeError("the loop ended before the measurement did: give it more steps")
    call = prepared.call
    if call is None:
        raise TypeError("expected a Prepared with call or loop")
    while True:
        turns()
        counted = call()
        if isinstance(counted, float):
            turns.counted += counted


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
