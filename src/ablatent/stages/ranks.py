"""Training a stage on several devices: one process a device, started by torchrun from one serialised stage.

The process that builds the stage holds the store's lock and the work's token, and waits. It starts an agent
(``python -m ablatent.stages.ranks SPEC.json``), which is torchrun with a watch; torchrun starts this module again in
each rank. Ranks read inputs, the first one writes work/KEY. Agent and ranks end when the process above them is gone,
however it ended, and the token keeps what might still be on its way from being written. No command line is replayed.
"""

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, SupportsFloat

import numpy as np

from ablatent.core.errors import AblatentError, StageError
from ablatent.core.files import read_json, write_json
from ablatent.core.here import follow, search_path
from ablatent.core.progress import console
from ablatent.core.signals import ENDING, end_on_signals, stop_requested, stoppable
from ablatent.stages.context import Context, resolve_device, set_up_torch
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.work import Work
from ablatent.tracking.base import NoTracking, Run, RunSpec

PARENT = "ABLATENT_PARENT"  # the process id that agent or rank must not outlive


def several(stage: Stage, runtime: Mapping[str, Any]) -> bool:
    """Whether a stage is trained by several processes; a first stage without parameters is not trained."""
    return int(runtime.get("devices", 1)) > 1 and stage.trained and "training" in stage.config


def build(ctx: Context) -> None:
    """Build a stage on runtime.devices ranks; its tracker run stays here. Raises StageError with a rank's message."""
    with stoppable(), TemporaryDirectory(prefix="ablatent-ranks-", ignore_cleanup_errors=True) as folder:
        _train(ctx, Path(folder))


def _train(ctx: Context, folder: Path) -> None:
    """Start the agent and wait for it. folder: of the spec, and of what the ranks hand back."""
    work = {"key": ctx.work.key, "path": str(ctx.work.path.absolute()), "token": ctx.work.token}
    spec = {
        "stage": ctx.stage.spec(),
        "store": str(ctx.store.root.absolute()),
        "runtime": dict(ctx.runtime),
        "work": {**work, "attempt": ctx.work.attempt},
    }
    write_json(folder / "spec.json", spec)
    threads = max(1, (os.cpu_count() or 1) // int(ctx.runtime["devices"]))
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "PYTHONPATH": search_path(),
        PARENT: str(os.getpid()),
    }
    command = [sys.executable, "-m", "ablatent.stages.ranks", str(folder / "spec.json")]
    # a session of its own: what is typed on the terminal reaches this process, which passes it on
    agent = subprocess.Popen(command, env=environment, start_new_session=True)
    offset, ending = 0, False
    try:
        while agent.poll() is None:
            time.sleep(0.1)
            offset = _relay(folder, offset, ctx.run)
            if stop_requested() and not ending:
                ending = True
                agent.terminate()  # the ranks then leave their checkpoint
    finally:
        _end(agent)
    _relay(folder, offset, ctx.run)
    if agent.returncode != 0:
        raise _failure(folder, ctx.title, agent.returncode)


def _end(agent: "subprocess.Popen[bytes]") -> None:
    """Wait for the agent; where this process was interrupted, ask it to end its ranks first."""
    if agent.poll() is None:
        agent.terminate()
        try:
            agent.wait(timeout=20)
        except subprocess.TimeoutExpired:
            agent.kill()  # its ranks end by their watch
            agent.wait()


def _failure(folder: Path, title: str, code: int) -> StageError:
    """The failure of the first rank that failed; the others failed because it was gone."""
    failures = sorted((read_json(path) for path in folder.glob("failure-*.json")), key=lambda note: note["time"])
    if not failures:
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else "a signal, for want of memory perhaps"
        return StageError(f"{title}: a rank, or the process that started them, ended without a message, by {cause}.")
    first = failures[0]
    error = StageError(first["message"] if first["expected"] else f"{title}, rank {first['rank']}: {first['message']}")
    error.add_note(f"On rank {first['rank']}:\n{first['traceback']}")
    return error


class Spool(Run):
    """The tracker run of the first rank: it hands all values to the process that has the real run.

    folder: where events.jsonl and images are written for that process.
    """

    def __init__(self, folder: Path):
        super().__init__(RunSpec())
        self.folder, self.count = folder, 0

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        self._append({"step": step, "values": {name: float(value) for name, value in values.items()}})

    def images(self, step: int, name: str, image: np.ndarray) -> None:
        self.count += 1
        np.save(self.folder / f"image-{self.count}.npy", image)
        self._append({"step": step, "name": name, "image": f"image-{self.count}.npy"})

    def summary(self, values: Mapping[str, Any]) -> None:
        self._append({"summary": dict(values)})

    def close(self) -> None:
        pass

    def _append(self, event: Mapping[str, Any]) -> None:
        with (self.folder / "events.jsonl").open("a") as f:
            f.write(json.dumps(event) + "\n")


def _relay(folder: Path, offset: int, run: Run) -> int:
    """Hand the whole lines after byte `offset` of a spool on to a run; returns the byte after them."""
    path = folder / "events.jsonl"
    if not path.exists():
        return offset
    with path.open("rb") as f:
        f.seek(offset)
        new = f.read()
    lines = new[: new.rfind(b"\n") + 1]
    for line in lines.splitlines():
        event = json.loads(line)
        if "summary" in event:
            run.summary(event["summary"])
        elif "image" in event:
            run.images(event["step"], event["name"], np.load(folder / event["image"]))
            (folder / event["image"]).unlink()
        else:
            run.log(event["step"], event["values"])
    return offset + len(lines)


def agent(path: Path) -> None:
    """Run torchrun of this module, one rank for each device of this machine. path: of the spec.

    torchrun hands SIGTERM on to the ranks. Others of the signals that ask for an end are for the process above.
    """
    for number in ENDING:
        if number is not signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    follow(int(os.environ[PARENT]), leave=path.parent)
    os.environ[PARENT] = str(os.getpid())
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    devices = int(read_json(path)["runtime"]["devices"])
    try:
        main(
            [
                "--standalone",
                f"--log-dir={path.parent / 'logs'}",
                f"--nproc-per-node={devices}",
                "-m",
                "ablatent.stages.ranks",
                str(path),
            ]
        )
    except (ChildFailedError, SignalException):  # the ranks have left their reasons; or the user interrupted them
        sys.exit(1)


def rank(path: Path) -> None:
    """Build one rank's part of the stage. path: of the spec; a failure is left beside it as failure-RANK.json."""
    end_on_signals(quiet=True)
    number = int(os.environ["RANK"])
    follow(int(os.environ[PARENT]))
    console.quiet = number > 0
    try:
        spec = read_json(path)
        set_up_torch(spec["runtime"])
        _join(spec["runtime"], int(os.environ["LOCAL_RANK"]))
        run = NoTracking().open(RunSpec()) if number else Spool(path.parent)
        work = Work(**{**spec["work"], "key": Key(spec["work"]["key"]), "path": Path(spec["work"]["path"])})
        stage = Stage.of(spec["stage"])
        context = Context(stage, Store(spec["store"]), work, spec["runtime"], run, number)
        importlib.import_module(stage.builder).build(context)
        _leave_together()
    except Exception as e:
        _leave_failure(path.parent, number, e)
        sys.stdout.flush()
        os._exit(1)  # without waiting for ranks that wait for this one


def _join(runtime: Mapping[str, Any], device: int) -> None:
    import torch
    import torch.distributed as dist

    if resolve_device(runtime["device"]) == "gpu":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=torch.device("cuda", device))
    else:
        dist.init_process_group("gloo")


def _leave_together() -> None:
    """Leave the process group together: no rank may go while another still sends to it."""
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()


def _leave_failure(folder: Path, number: int, error: Exception) -> None:
    expected = isinstance(error, AblatentError)
    note = {
        "rank": number,
        "time": time.time(),
        "expected": expected,
        "message": str(error) if expected else f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    write_json(folder / f"failure-{number}.json", note)


if __name__ == "__main__":
    (rank if "RANK" in os.environ else agent)(Path(sys.argv[1]))
