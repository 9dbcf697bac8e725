"""Commands with executor=ray on a real cluster, and what the tests do to them."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from ray_nodes import ENVIRONMENT, can_start_nodes, process_of

from ablatent.executors.ray_cluster import INSTALL, installed
from ablatent.sweep.journal import heartbeat_of
from commands import SMALL, words
from processes import gone

T = TypeVar("T")
NEEDED = (
    f"there is no ray here: {INSTALL}"
    if not installed()
    else ("" if can_start_nodes() else "this user may start no pid namespaces, which the nodes live in")
)
needs_ray = pytest.mark.skipif(bool(NEEDED), reason=NEEDED)


class Command:
    """A command with executor=ray that runs in a folder, its output in a file. Ended with its block."""

    def __init__(self, folder: Path, address: str | None, *overrides: str):
        self.folder, self.output = folder, folder / "output.txt"
        at = [] if address is None else [f"executor.address={address}"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                words("-m", *SMALL, "executor=ray", *at, *overrides),
                cwd=folder,
                env={**os.environ, **ENVIRONMENT, "WANDB_MODE": "offline"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def ends(self, seconds: float) -> int:
        """The exit code, which comes within so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"no end within {seconds} s:\n{self.text}")

    def trains(self, kind: str, steps: int = 0) -> tuple[str, str, int]:
        """Wait for a training that has taken so many steps, or has a checkpoint: its key, its place and its process."""

        def training() -> tuple[str, str, int] | None:
            for file in self.folder.glob(f"store/sweeps/*/beats/{kind}-*.json"):
                beat = heartbeat_of(file)
                saved = (self.folder / "store" / "work" / file.stem / "last.ckpt").exists()
                if beat is None or not (beat.done >= steps if steps else saved):
                    continue
                if (number := process_of(beat.where)) is not None:  # not that of an earlier sweep
                    return file.stem, beat.where, number
            return None

        return self.until(training)

    def process_of(self, key: str) -> int | None:
        """The process that builds a stage now, once it has given a sign of life."""
        beats = [heartbeat_of(file) for file in self.folder.glob(f"store/sweeps/*/beats/{key}.json")]
        return next((process_of(beat.where) for beat in beats if beat is not None), None)

    def until(self, condition: Callable[[], T | None], seconds: float = 120.0) -> T:
        """What a condition gives when it first gives something, while the command runs."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.05)
        return found

    def log(self, key: str) -> str:
        """What the builds of a stage have printed in the newest sweep."""
        (*_, newest) = sorted(self.folder.glob("store/sweeps/*"))
        return (newest / "logs" / f"{key}.log").read_text(errors="replace")


def resumed(log: str) -> int:
    """The step at which the last build of a training went on; 0 where none did."""
    return max(map(int, re.findall(r"resumed at step (\d+) of", log)), default=0)


def ends_soon(number: int, seconds: float = 15.0) -> bool:
    """Whether a process has gone within so many seconds."""
    end = time.monotonic() + seconds
    while not gone(number):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def images(folder: Path) -> dict[str, bytes]:
    """Key → the bytes of the images of all samples in the store of a folder."""
    return {p.parent.name: p.read_bytes() for p in folder.glob("store/objects/samples/*/images.npy")}
