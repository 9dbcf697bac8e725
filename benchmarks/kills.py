"""Kills a tiny sweep at random times until it is finished, and compares it with one that nobody killed.

python benchmarks/kills.py [KILLS] [SEED] [BUSY]

KILLS signals (15), of SIGKILL and all that ask for an end, each a random time after the sweep was started (again),
drawn by SEED (0); BUSY (0) further processes keep the cores busy meanwhile. Then the sweep runs to its end. Weights,
curves, samples, features and scores must be those of the undisturbed sweep to the bit, and a command that was asked to
end must have ended with code 128 + signal, one line, no traceback, within ten seconds. Prints counts; code 1 where
anything differs.
"""

import hashlib
import json
import multiprocessing
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SWEEP = [
    *("-m", "first_stage=kl,vq", "preset=tiny", "data=digits", "perceptual=alex", "runtime=cpu", "runtime.threads=1"),
    *("runtime.batch_size=8", "runtime.checkpoint_seconds=1", "tracking=none", "samples.count=64"),
    *("evaluation.reference_count=256", "evaluation.reconstruction_count=64"),
    *("first_stage.training.steps=200", "training.steps=200"),
]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SHORTEST, LONGEST = 1.0, 25.0  # seconds from a start to its kill
PROMPT = 10.0
TIMED = re.compile(r"manifest\.json|summary\.json")  # hold seconds


def started(folder: Path) -> "subprocess.Popen[str]":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background of a shell has it ignored
    command = [sys.executable, str(ROOT / "run.py"), *SWEEP]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def contents(folder: Path) -> dict[str, str]:
    """Path → digest of every stored file that has no times in it."""
    objects = folder / "store" / "objects"
    files = (p for p in objects.rglob("*") if p.is_file() and not TIMED.fullmatch(p.name))
    return {str(p.relative_to(objects)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def fault(number: int, code: int, spent: float, text: str) -> str | None:
    """What is wrong with the end of a command that got a signal; None where nothing is."""
    if code != (-number if number == signal.SIGKILL else 128 + number):
        return f"code {code}"
    if "Traceback" in text:
        return "a traceback"
    if number != signal.SIGKILL and text.count("ended by SIG") != 1:
        return "not one line"
    return f"{spent:.1f} s" if spent > PROMPT else None


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many further processes that compute all the time."""
    spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in spinning:
        process.start()
    yield
    for process in spinning:
        process.kill()


def _spin() -> None:
    while True:
        pass


def killed(folder: Path, kills: int, seed: int) -> tuple[Counter[str], list[str], bool]:
    """(what was sent, faults, whether the sweep had finished before all were sent)."""
    draw, sent, faults = random.Random(seed), Counter[str](), list[str]()
    for i in range(kills):
        number, after = draw.choice(SIGNALS), draw.uniform(SHORTEST, LONGEST)
        child = started(folder)
        try:
            text, _ = child.communicate(timeout=after)
            print(f"  kill {i}: finished before")
            return sent, faults, True
        except subprocess.TimeoutExpired:
            child.send_signal(number)
        began = time.monotonic()
        text, _ = child.communicate()
        spent = time.monotonic() - began
        sent[number.name] += 1
        print(f"  kill {i}: {number.name} after {after:.1f} s: code {child.returncode} in {spent:.1f} s", flush=True)
        if found := fault(number, child.returncode, spent, text):
            faults.append(f"kill {i}, {number.name}: {found}")
            print(text)
    return sent, faults, False


def main(kills: int = 15, seed: int = 0, others: int = 0) -> int:
    with tempfile.TemporaryDirectory() as place:
        whole, disturbed = Path(place, "whole"), Path(place, "killed")
        whole.mkdir()
        disturbed.mkdir()
        undisturbed = started(whole)
        text, _ = undisturbed.communicate()
        if undisturbed.returncode:
            print(text)
            return 1
        with busy(others):
            sent, faults, finished = killed(disturbed, kills, seed)
        last = started(disturbed)
        text, _ = last.communicate()
        expected, found = contents(whole), contents(disturbed)
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    print(json.dumps({"sent": dict(sent), "finished before the last": finished, "code at the end": last.returncode}))
    print(f"{len(expected)} files, {len(different)} differ: {', '.join(different[:10])}")
    print(f"{len(faults)} wrong ends of a command: {'; '.join(faults)}")
    if last.returncode:
        print(text)
    return int(bool(faults or different or last.returncode))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
