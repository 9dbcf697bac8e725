"""Mistakes in every value of conf/, made from what its field declares: is each refused by name, before anything runs?

python benchmarks/faults.py [PROCESSES]

Puts every mistake (wrong type, below, above, null, misspelt, misplaced) to the check of the job in this process, then
PROCESSES of them (20), drawn by a fixed seed, to `python run.py do=plan`, and prints the counts. Exit code 1 where one
was accepted, named another key, or ended in a traceback.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests")]

from ablatent.core.progress import console, track  # noqa: E402
from mistakes import Mistake, mistakes  # noqa: E402


def refused(mistake: Mistake) -> bool:
    """Whether the check refuses it, and names its key."""
    error = mistake.error()
    return error is not None and error.key.startswith(mistake.named)


def refused_by_plan(mistake: Mistake, folder: str) -> bool:
    """Whether `do=plan` refuses it with exit code 2, a message that names the key, and no traceback."""
    options = [o for o in mistake.overrides if not o.startswith("preset=")]
    command = [sys.executable, str(ROOT / "run.py"), "do=plan", "preset=tiny", *options, mistake.typed]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    said = " ".join((done.stdout + done.stderr).split())
    good = done.returncode == 2 and "Traceback" not in said and mistake.key.rpartition(".")[2] in said
    if not good:
        console.print(f"{mistake.typed}: exit code {done.returncode}\n{said[-600:]}", markup=False)
    return good


def main(processes: int = 20) -> int:
    """Print the table of counts; the exit code."""
    start, found = time.monotonic(), list(mistakes())
    counts: dict[str, Counter[bool]] = {}
    with track("mistakes", len(found)) as bar:
        for mistake in found:
            good = refused(mistake)
            counts.setdefault(mistake.kind, Counter())[good] += 1
            if not good:
                console.print(f"{mistake.key} {mistake.kind} {mistake.value!r}: {mistake.error()}", markup=False)
            bar.advance(1)
    spent = time.monotonic() - start
    drawn = random.Random(0).sample(found, processes)
    planned: Counter[bool] = Counter()
    with tempfile.TemporaryDirectory() as folder, track("do=plan", len(drawn)) as bar:
        for mistake in drawn:
            planned[refused_by_plan(mistake, folder)] += 1
            bar.advance(1)
    table = Table("kind", "mistakes", "refused by name")
    for kind, count in counts.items():
        table.add_row(kind, str(count.total()), str(count[True]))
    table.add_row("all, in one process", str(len(found)), f"{sum(c[True] for c in counts.values())} ({spent:.0f} s)")
    table.add_row("by do=plan as processes", str(len(drawn)), str(planned[True]))
    console.print(table)
    return 0 if planned[False] == 0 and not any(c[False] for c in counts.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
