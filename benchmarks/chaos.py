"""Kills workers and drivers of a sweep by executor=process, at random, and compares the end with an undisturbed sweep.

python benchmarks/chaos.py [KILLS] [SEED]

24 jobs of the tiny preset (2 first stages, 2 schedules, 2 samplers, 3 seeds) in two slots. KILLS (50) times, after a
random time, one process gets SIGKILL or SIGSTOP: a worker (two times in three), or the driver, whose command is then
given again, or gone on with by do=resume, in turn. A stopped worker is left to its heartbeat. Then the sweep runs to
its end. Every stored file without times in it must be that of an undisturbed sweep in one process, to the bit, and no
stage may have been built twice. Writes benchmarks/results/chaos.md and .json; code 1 where anything differs.
"""

import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kills import ROOT, contents

SWEEP = [
    *("-m", "first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddim,ddpm", "seed=0,1,2", "preset=tiny"),
    *("data=digits", "perceptual=alex", "runtime=cpu", "runtime.threads=1", "runtime.checkpoint_seconds=0.5"),
    *("tracking=none", "samples.count=16", "evaluation.reference_count=64", "evaluation.reconstruction_count=16"),
    *("first_stage.training.steps=200", "training.steps=300"),
]
POOL = [
    *("executor=process", "executor.slots=2", "executor.retries=1000", "executor.retry_seconds=0.1"),
    "executor.silent_seconds=8",
]
SHORTEST, LONGEST = 2.0, 14.0  # seconds between two kills
RESULTS = Path(__file__).parent / "results"


@dataclass
class Chaos:
    """The disturbed sweep. sent: what was done to whom; lines: stage → how often a driver said that it was built."""

    folder: Path
    draw: random.Random
    sent: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    driver: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """The command, or after its first time do=resume in turn with it."""
        resume = self.drivers % 2 == 1 and list(self.folder.glob("store/sweeps/*/plan.json"))
        words = ["do=resume"] if resume else [*SWEEP, *POOL]
        self.drivers += 1
        with self.log.open("wb") as log:
            command = [sys.executable, str(ROOT / "run.py"), *words]
            self.driver = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    @property
    def log(self) -> Path:
        return self.folder / f"log-{self.drivers}.txt"

    def disturb(self) -> bool:
        """One kill; False where the sweep has ended before."""
        assert self.driver is not None
        try:
            self.driver.wait(self.draw.uniform(SHORTEST, LONGEST))
            return False
        except subprocess.TimeoutExpired:
            pass
        of_worker = self.draw.random() < 2 / 3
        while not (workers := self.workers()) and of_worker:  # those of a driver that has just begun
            if self.driver.poll() is not None:
                return False
            time.sleep(0.2)
        if of_worker:
            number = self.draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
            with suppress(ProcessLookupError):
                os.kill(self.draw.choice(workers).pid, number)
            self.sent[f"worker {number.name}"] += 1
            return True
        self.driver.kill()
        self.driver.wait()
        self.sent["driver SIGKILL"] += 1
        self.start()
        return True

    def workers(self) -> list[psutil.Process]:
        """Those of the driver that live."""
        found = []
        with suppress(psutil.Error):
            for process in psutil.Process(self.driver.pid).children():
                with suppress(psutil.Error):
                    if "ablatent.build" in " ".join(process.cmdline()):
                        found.append(process)
        return found

    def finish(self) -> int:
        """Wait for the end, after the kills."""
        assert self.driver is not None
        code = self.driver.wait()
        for log in self.folder.glob("log-*.txt"):
            self.lines.update(re.findall(r"^\s+(\w+-[0-9a-f]{8})\s+built in", log.read_text(errors="replace"), re.M))
        return code


def main(kills: int = 50, seed: int = 0) -> int:
    with tempfile.TemporaryDirectory() as place:
        whole, folder = Path(place, "whole"), Path(place, "chaos")
        whole.mkdir()
        folder.mkdir()
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *SWEEP], cwd=whole, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stdout + done.stderr)
            return 1
        undisturbed = time.monotonic() - begun
        print(f"undisturbed, in one process: {undisturbed:.0f} s", flush=True)
        chaos, begun, ended_early = Chaos(folder, random.Random(seed)), time.monotonic(), False
        chaos.start()
        for i in range(kills):
            if not chaos.disturb():
                ended_early = True
                break
            print(f"  {i + 1} of {kills}: {dict(chaos.sent)}, {time.monotonic() - begun:.0f} s", flush=True)
        code = chaos.finish()
        spent = time.monotonic() - begun
        expected, found = contents(whole), contents(folder)
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        twice = sorted(key for key, times in chaos.lines.items() if times > 1)
        if code:
            print(chaos.log.read_text())
    result = {
        "kills": dict(chaos.sent),
        "finished before all kills": ended_early,
        "jobs": 24,
        "files": len(expected),
        "files that differ": different,
        "stages built twice": twice,
        "code": code,
        "seconds": round(spent),
        "seconds undisturbed, in one process": round(undisturbed),
        "drivers": chaos.drivers,
    }
    print(json.dumps(result, indent=2))
    write(result, kills, seed)
    return int(bool(code or different or twice or not expected))


def write(result: dict[str, object], kills: int, seed: int) -> None:
    """The record, in benchmarks/results."""
    (RESULTS / "chaos.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = "\n".join(f"| {name} | {value} |" for name, value in result.items())
    (RESULTS / "chaos.md").write_text(
        f"# A sweep under kills\n\n`python benchmarks/chaos.py {kills} {seed}`, {time.strftime('%Y-%m-%d')}, "
        f"{os.cpu_count()} cores ({platform.machine()}).\n\n| | |\n|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
