"""Stages in processes of this machine, several at once."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Annotated, Any

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Positive
from ablatent.executors.pool import Pool
from ablatent.executors.snapshot import worker_environment
from ablatent.executors.worker_process import ended_by, kill, launch, memory_of
from ablatent.executors.workers import Build, Over, Workers
from ablatent.stages.context import resolve_device
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.sweep.executor import SweepRun, threads_of
from ablatent.sweep.schedule import most_at_once

MEMORY_SECONDS = 0.5
"""Between two looks at the memory of workers."""


@dataclass(kw_only=True)
class Process(Pool):
    """Stages in processes of this machine, several at once.

    slots: null: one for each GPU, and without GPUs as many as trainings can go on at once, at most one for each
    processor. A stage that is trained gets a process of its own; the others of a slot share one, whose imports and
    loaded networks serve them all.
    """

    slots: Annotated[
        Count | None, "stages at once; null: one for each GPU, else for each training that can go on beside others"
    ] = None
    memory_gib: Annotated[
        Positive | None, "a stage whose process takes more is ended, and has failed; null: no bound"
    ] = None

    def workers(self, sweep: SweepRun) -> Workers:
        runtime, slots = sweep.builder.runtime, sweep.slots

        def places() -> list[_Slot]:
            gpus, threads = _gpus_for(runtime), threads_of(runtime, slots)
            return [_Slot(i, gpus[i] if gpus else None, threads) for i in range(slots)]

        variables = worker_environment(sweep.builder.store.root, sweep.plan.stages.values())
        return _Slots(places, self.memory_gib, variables)

    def slots_on(self, runtime: Mapping[str, Any], missing: Mapping[Key, Stage]) -> int:
        if not missing:
            return self.slots or 1
        gpus = _gpus_for(runtime)
        slots = self.slots or len(gpus) or min(most_at_once(missing), os.cpu_count() or 1)
        if gpus and slots > len(gpus):
            do = "Each stage has a GPU of its own, or runtime.devices of them."
            raise ConfigError("executor.slots", f"at most {len(gpus)}, for the GPUs that are there", slots, do)
        return slots


def _gpus_for(runtime: Mapping[str, Any]) -> list[str]:
    """The GPUs of each slot, as CUDA_VISIBLE_DEVICES names them; none where stages are built on the CPU."""
    gpus = _gpus() if resolve_device(str(runtime["device"])) == "gpu" else []
    devices = int(runtime.get("devices", 1))
    return [",".join(group) for group in _groups(gpus, devices)] if len(gpus) > 1 and devices > 1 else gpus


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if typed := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return typed.split(",")
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def _groups(gpus: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Whole groups of so many GPUs."""
    for start in range(0, len(gpus) - size + 1, size):
        yield gpus[start : start + size]


@dataclass
class _Slot:
    """A place for one worker. gpu: its CUDA_VISIBLE_DEVICES, None for none of its own; threads: of torch."""

    number: int
    gpu: str | None
    threads: int
    worker: "_Worker | None" = None


@dataclass
class _Worker:
    """A process that builds one stage after the other, as its input names their specs.

    build: what it builds, None while it waits; used: whether it has built a training, so that it is not used again.
    """

    process: "subprocess.Popen[bytes]"
    requests: IO[bytes]
    answers: IO[bytes]
    build: Build | None = None
    used: bool = False
    ended_for: str = ""
    again: bool = True
    looked: float = field(default_factory=time.monotonic)


class _Slots(Workers):
    """The workers of this machine. places: () -> the slots, called before the first stage is begun, since it takes a
    second to count GPUs; memory: GiB that one may take; variables: of their environment."""

    def __init__(self, places: Callable[[], list[_Slot]], memory: float | None, variables: dict[str, str]):
        self.places, self.memory, self.variables = places, memory, variables
        self.slots: list[_Slot] = []
        self.selector = DefaultSelector()

    def room(self, stage: Stage) -> bool:
        self.slots = self.slots or self.places()
        return any(slot.worker is None or slot.worker.build is None for slot in self.slots)

    def start(self, build: Build) -> str:
        free = [slot for slot in self.slots if slot.worker is None or slot.worker.build is None]
        fresh = build.stage.trained
        # a slot whose worker is warm for what can use it, and one without for what cannot
        slot = min(free, key=lambda s: (s.worker is None) != fresh)
        if slot.worker is not None and (fresh or slot.worker.used or slot.worker.process.poll() is not None):
            self._let_go(slot)
        if slot.worker is None:
            slot.worker = self._launch(slot, build)
        worker = slot.worker
        worker.build, worker.used = build, fresh
        with contextlib.suppress(BrokenPipeError):  # it has just died, which `over` will see
            worker.requests.write(json.dumps({"spec": str(build.spec), "log": str(build.log)}).encode() + b"\n")
        return f"slot {slot.number}" + (f", GPU {slot.gpu}" if slot.gpu is not None else "")

    def _launch(self, slot: _Slot, build: Build) -> _Worker:
        environment = {
            "OMP_NUM_THREADS": str(slot.threads),
            **self.variables,
            **({} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}),
        }
        worker = _Worker(*launch(environment, str(build.log)))
        self.selector.register(worker.answers, EVENT_READ, slot)
        return worker

    def over(self, timeout: float) -> Iterator[Over]:
        for key, _ in self.selector.select(timeout):
            slot: _Slot = key.data
            if slot.worker is not None and (over := self._heard(slot, slot.worker)) is not None:
                yield over
        if self.memory is not None:
            for slot in self.slots:
                if slot.worker is not None:
                    self._weigh(slot.worker)

    def _heard(self, slot: _Slot, worker: _Worker) -> Over | None:
        """What a worker that can be read has to say: a line for each end of a build, nothing at its own end."""
        answer, build = worker.answers.read(1), worker.build
        if answer:
            worker.build = None
            return None if build is None else Over(build.stage.key)
        self.selector.unregister(worker.answers)
        worker.answers.close()
        slot.worker = None
        code = worker.process.wait()
        return None if build is None else Over(build.stage.key, worker.ended_for or ended_by(code), worker.again)

    def _weigh(self, worker: _Worker) -> None:
        """End a worker that takes more memory than it may."""
        now = time.monotonic()
        if self.memory is None or worker.build is None or now - worker.looked < MEMORY_SECONDS:
            return
        worker.looked = now
        if (taken := memory_of(worker.process.pid)) > self.memory:
            worker.ended_for = f"it took {taken:.2f} GiB of memory; executor.memory_gib={self.memory:g}"
            worker.again = False
            kill(worker.process)

    def kill(self, key: Key) -> None:
        for slot in self.slots:
            if slot.worker is not None and slot.worker.build is not None and slot.worker.build.stage.key == key:
                slot.worker.ended_for = "it was silent"
                kill(slot.worker.process)

    def stop(self, timeout: float) -> None:
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        for worker in workers:
            worker.process.terminate()
        end = time.monotonic() + timeout
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.1, end - time.monotonic()))
            kill(worker.process)

    def close(self) -> None:
        for slot in self.slots:
            self._let_go(slot)

    def _let_go(self, slot: _Slot) -> None:
        """End a worker: at once where it waits for a stage, by a signal where it still builds one."""
        worker = slot.worker
        if worker is None:
            return
        self.selector.unregister(worker.answers)
        with contextlib.suppress(BrokenPipeError):
            worker.requests.close()
        try:
            worker.process.wait(10.0)
        except subprocess.TimeoutExpired:
            kill(worker.process)
            worker.process.wait()
        worker.answers.close()
        slot.worker = None
