"""Commands with executor=slurm on a cluster of the tests, and what tests do to their jobs."""

import os
import re
import signal
import subprocess
from pathlib import Path

from slurm_cluster import Cluster, wait_until

from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.layout import checkpoints_of, object_keys, work_folder, work_keys
from ablatent.sweep.journal import states_of
from commands import ROOT, words

SLURM = ["executor=slurm", "executor.poll_seconds=1", "executor.silent_seconds=60"]
# A training of half a minute, which can be resumed from its last second.
LONG = ["training.steps=150", "runtime.checkpoint_seconds=1"]
TIMED = ("summary.json",)


class Command:
    """A command that runs in a folder, on a cluster; its output is in `log`."""

    def __init__(self, cluster: Cluster, folder: Path, *overrides: str):
        self.cluster, self.folder = cluster, folder
        self.log = folder / f"command-{len(list(folder.glob('command-*')))}.log"
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, **cluster.env, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                words(*overrides), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def until(self, there, what: str, seconds: float = 180.0):
        """What `there` returns as soon as it is true. Fails when the command ends before."""
        found = []

        def look() -> bool:
            found.append(there())
            assert found[-1] or self.process.poll() is None, self.output
            return bool(found[-1])

        try:
            wait_until(look, what, seconds)
        except TimeoutError as late:
            raise AssertionError(f"{late}\n{self.output}\n{self.cluster.queue()}") from None
        return found[-1]

    def training(self, kind: str = "diffusion", besides: str = "") -> tuple[str, str, Key]:
        """(job, node, stage) of a training that has left a checkpoint. besides: a job that is not meant."""

        def look():
            for job, node, key in self.jobs():
                if key.kind == kind and job != besides and checkpoints_of(work_folder(self.folder / "store", key)):
                    return job, node, key
            return None

        return self.until(look, f"a checkpoint of {kind}")

    def jobs(self) -> list[tuple[str, str, Key]]:
        """(job, node, stage) of the running jobs, as the journal names them."""
        found = []
        for folder in self.folder.glob("store/sweeps/*"):
            for key, state in states_of(folder).items():
                if (match := re.fullmatch(r"job (\S+) on (\w+)", state.where)) and state.status == "running":
                    found.append((match[1], match[2], key))
        return found

    def wait(self, code: int = 0, seconds: float = 240.0) -> str:
        """The output, after the end with an exit code."""
        try:
            ended = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.output}\n{self.cluster.queue()}") from None
        assert ended == code, self.output
        return self.output

    def end(self) -> None:
        """Whatever a test has left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.cluster.run("scancel", "--user=root")
        wait_until(lambda: not self.cluster.queue(), "an empty queue", 120)  # a killed node takes its time


def worker_of(key: Key) -> int:
    """The process that builds a stage: the innermost that holds its lock."""
    for lock in Path("/proc/locks").read_text().splitlines():
        fields = lock.split()
        inode = int(fields[5].split(":")[2])
        for path in Path("/proc", fields[4], "fd").glob("*"):
            try:
                if path.stat().st_ino == inode and path.resolve().name == key:
                    return int(fields[4])
            except OSError:
                continue
    raise AssertionError(f"nobody builds {key}")


def files_of(folder: Path, kind: str) -> dict[str, dict[str, str]]:
    """Key → name → SHA-256, of the files of all objects of a kind but those that say how long it took."""
    store = Store(folder / "store")
    found = {key: store.find(key) for key in object_keys(store.root, kind)}
    files = {key: there.manifest.files for key, there in found.items() if there is not None}
    return {key: {name: f.sha256 for name, f in of.items() if name not in TIMED} for key, of in files.items()}


def unfinished(folder: Path) -> list[Key]:
    """The builds that are in progress."""
    return work_keys(folder / "store")
