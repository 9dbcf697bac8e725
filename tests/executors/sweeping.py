"""A small sweep by worker processes, with whatever happens to it meanwhile."""

import json
import signal
import subprocess
import time
from pathlib import Path

from commands import SMALL, run, words
from processes import descendants

STEPS = 150
# Two first stages, long enough to be interrupted, and what hangs on them.
SWEEP = [
    "-m",
    "first_stage=kl,vq",
    *SMALL,
    "task=reconstruct",
    f"first_stage.training.steps={STEPS}",
    "runtime.checkpoint_seconds=0.2",
]
TWO = ["executor=process", "executor.slots=2"]


class Driver:
    """A sweep that runs, in a folder of its own."""

    def __init__(self, folder: Path, *overrides: str):
        folder.mkdir(exist_ok=True)
        self.folder, self.log = folder, folder / f"log-{time.monotonic_ns()}"
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background of a shell has it ignored
        with self.log.open("w") as log:
            command = words(*(overrides or (*SWEEP, *TWO)))
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)

    def wait_for(self, what, seconds: float = 180):
        """The value of `what()`, once it is one."""
        deadline = time.monotonic() + seconds
        while not (value := what()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.02)
        return value

    def checkpoint(self, kind: str = "first_stage") -> Path:
        """Of a training that has begun."""
        return self.wait_for(lambda: next(iter(self.folder.glob(f"store/work/{kind}-*/last.ckpt")), None))

    def worker_of(self, key: str) -> int:
        """The process that builds a stage."""
        beat = self.wait_for(lambda: next(iter(self.folder.glob(f"store/sweeps/*/beats/{key}.json")), None))
        return int(json.loads(beat.read_text())["where"].rpartition(":")[2])

    def workers(self) -> list[int]:
        return descendants(self.process.pid)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)

    @property
    def output(self) -> str:
        return self.log.read_text()


def weights(folder: Path) -> dict[str, str]:
    """File of a first stage → its digest, by the key of the stage."""
    manifests = folder.glob("store/objects/first_stage/*/manifest.json")
    return {
        f"{path.parent.name}/{name}": file["sha256"]
        for path in manifests
        for name, file in json.loads(path.read_text())["files"].items()
        if name.endswith(".safetensors")
    }


def scores(folder: Path) -> dict[str, bytes]:
    """Key → bytes of what was measured."""
    return {p.parent.name: p.read_bytes() for p in folder.glob("store/objects/*/*/scores.json")}


def finished_inline(folder: Path) -> Path:
    """The folder of the undisturbed sweep, in one process."""
    folder.mkdir(exist_ok=True)
    done = run(folder, *SWEEP)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
