"""What the numbers were taken on."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine(device: str) -> dict[str, Any]:
    """Processor, cores, memory and device: records of equal ones are compared."""
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    about = {key.strip(): value.strip() for key, value in info.items()}
    processor = about.get("model name", platform.processor())
    if "cpu family" in about:  # hosts of virtual machines give many processors one name
        processor += f" (family {about['cpu family']}, model {about['model']})"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = {"processor": processor, "cores": cores(), "memory_GB": round(pages / 1e9), "device": "cpu"}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
    return found


def software(root: Path) -> dict[str, Any]:
    """Versions of what decides speed, and the commit, "+" where the tree has changes beside results."""
    names = ("torch", "torchvision", "diffusers", "torch-fidelity", "pytorch-lightning", "numpy", "pillow")
    found = {"python": platform.python_version(), **{name: version(name) for name in names}}
    commit = _git(root, "rev-parse", "--short=9", "HEAD")
    dirty = _git(root, "status", "--porcelain", "--", ".", ":!benchmarks/results")
    return {**found, "commit": commit + ("+" if dirty else "")}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


class OtherLoad:
    """The share of the processor that goes to processes other than this one and those that it started, since it was
    made, in [0, 1]. pids: of those that it started, whose children are counted when they have ended."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.pids = [os.getpid(), *pids]
        self.busy, self.total, self.own = self._now()

    def share(self) -> float:
        """Until now; of processes that have not ended."""
        busy, total, own = self._now()
        return max(0.0, (busy - self.busy) - (own - self.own)) / max(total - self.total, 1)

    def _now(self) -> tuple[int, int, int]:
        """Clock ticks of all cores: (busy, in all, busy for our own)."""
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        return sum(ticks) - idle, sum(ticks), sum(map(_ticks, self.pids))


def _ticks(pid: int) -> int:
    """Those of a process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(n) for n in fields[11:15])
