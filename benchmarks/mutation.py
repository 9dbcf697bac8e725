"""How many small mistakes in schedules, samplers and the identity of stages the tests find: mutants, by cosmic-ray.

python benchmarks/mutation.py [COUNT] [SEED] [PROCESSES]

COUNT mutants (100) of each part, drawn by SEED (0) from those that cosmic-ray makes of its modules: another operator,
an edge of a comparison moved, a number one off, a condition negated, a loop not run. Of the exchanges of one operator
by others one is drawn, so that arithmetic counts no more than a condition. Each is tested in a copy of the repository
by the fast tests of its part, up to the first failure; it is killed where a test fails or they do not end in time.
Types are not checked meanwhile (CHECK_TYPES=0), which is most of their time: what these checks alone would find
survives. Mutants of type unions are left out: no test can see one. PROCESSES (2) at once. Writes
benchmarks/results/mutation.md and .json, with the line of every mutant that survived and the exact 95 % interval
(Clopper & Pearson 1934) of the share killed. Needs `pip install -e ".[dev,mutation]"`.
"""

import compileall
import json
import multiprocessing
import os
import py_compile
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome
from scipy import stats

from ablatent.core.progress import track
from bench.machine import machine, software

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SLOWEST = 8
"""A mutant is killed where its tests take so many times as long as those of the code itself."""
UNION = "_BitOr_"
"""Operators in whose name this stands exchange the | of `int | None`."""


class Part(NamedTuple):
    """modules: files or folders that are mutated; tests: what pytest is called with."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "schedules": Part(
        ("src/ablatent/schedules",),
        ("tests/schedules", "tests/checks/test_invariants.py", "-k", "schedules or schedule or times"),
    ),
    "samplers": Part(("src/ablatent/samplers",), ("tests/samplers",)),
    "store/identity": Part(("src/ablatent/store/identity.py",), ("tests/store", "tests/sweep/test_plan.py")),
}


@dataclass(frozen=True)
class Mutant:
    """One change of one file. place: FILE:LINE; operator: its name in cosmic-ray; killed: None before it is tested;
    change: the mutated line."""

    part: str
    place: str
    operator: str
    occurrence: int
    killed: bool | None = None
    change: str = ""


def files_of(part: Part) -> list[Path]:
    """The modules of a part, as paths in the repository."""
    found = [ROOT / name for name in part.modules]
    files = [p for path in found for p in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return [p.relative_to(ROOT) for p in files]


def mutants_of(name: str, seed: int) -> list[MutationSpec]:
    """Those of a part, in a fixed order: one of each kind of change (`ReplaceBinaryOperator`, say) at each place."""
    with tempfile.TemporaryDirectory() as folder, use_db(str(Path(folder) / "mutants.sqlite")) as db:
        init([ROOT / path for path in files_of(PARTS[name])], db, {})
        specs = [mutation for item in db.work_items for mutation in item.mutations]
    specs = [spec for spec in specs if UNION not in spec.operator_name]
    specs.sort(key=lambda s: (str(s.module_path), s.start_pos, s.end_pos, s.operator_name, s.occurrence))
    rng, places = random.Random(seed), defaultdict(list)
    for spec in specs:
        places[spec.module_path, spec.start_pos, spec.end_pos, spec.operator_name.partition("_")[0]].append(spec)
    return [rng.choice(at_place) for at_place in places.values()]


def copied(folder: Path) -> Path:
    """A copy of the files that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def command(part: Part) -> list[str]:
    """The fast tests of a part, which stop at the first failure."""
    return [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not cluster",
        *part.tests,
    ]


def enter(folders: Any) -> None:
    """Makes a copy of the repository that of this process."""
    folder = Path(folders.get())
    os.chdir(folder)
    os.environ.update(PYTHONPATH=str(folder / "src"), OMP_NUM_THREADS="1", CHECK_TYPES="0", PYTHONDONTWRITEBYTECODE="1")
    # Bytecode by hashes of the code: a mutant has the size and the second of what it replaces.
    compileall.compile_dir("src", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def unchanged(name: str) -> float:
    """Seconds of the tests of a part without a mutant. Raises RuntimeError where they fail."""
    start = time.monotonic()
    done = subprocess.run(command(PARTS[name]), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the tests of {name} fail without a mutant:\n{done.stdout[-3000:]}")
    return time.monotonic() - start


def tested(name: str, spec: MutationSpec, limit: float) -> Mutant:
    """A mutant, killed or not, of the copy of this process. limit: seconds."""
    place = Path(spec.module_path).relative_to(ROOT)
    here = MutationSpec(place, spec.operator_name, spec.occurrence, spec.start_pos, spec.end_pos, spec.operator_args)
    words = " ".join(f"'{word}'" for word in command(PARTS[name]))
    result = mutate_and_test([here], words, limit)
    if result.worker_outcome is not WorkerOutcome.NORMAL:
        raise RuntimeError(f"{place}, {spec.operator_name} {spec.occurrence}: {result.output}")
    added = [line[1:].strip() for line in (result.diff or "").splitlines() if line[:1] == "+" and line[:3] != "+++"]
    killed = result.test_outcome is not TestOutcome.SURVIVED
    operator = spec.operator_name.removeprefix("core/")
    return Mutant(name, f"{place}:{spec.start_pos[0]}", operator, spec.occurrence, killed, " ".join(added))


def interval(killed: int, tested: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper & Pearson 1934)."""
    found = stats.binomtest(killed, tested).proportion_ci(0.95)
    return float(found.low), float(found.high)


def table(found: Sequence[Mutant], made: dict[str, int]) -> Iterable[str]:
    """The rows of the report."""
    yield from ("| part | mutants made | tested | killed | share killed (95 %) |", "|---|---|---|---|---|")
    for name, number in made.items():
        of_part = [m for m in found if m.part == name]
        killed = sum(bool(m.killed) for m in of_part)
        low, high = interval(killed, len(of_part))
        share = f"{killed / len(of_part):.1%} ({low:.1%} to {high:.1%})"
        yield f"| `{name}` | {number} | {len(of_part)} | {killed} | {share} |"


def report(found: Sequence[Mutant], made: dict[str, int], about: dict[str, Any]) -> str:
    """The page."""
    survived = sorted((m for m in found if not m.killed), key=lambda m: m.place)
    text = [
        "# Mutants",
        "",
        f"`python benchmarks/mutation.py {about['count']} {about['seed']}`, {about['date']}, commit {about['commit']}, "
        f"{about['processor']}, {about['cores']} cores, {about['seconds'] / 60:.0f} minutes.",
        "",
        *table(found, made),
        "",
        "Survived:",
        "",
        "| where | operator | the line, changed |",
        "|---|---|---|",
        *(f"| {m.place} | {m.operator} | `{m.change.replace('|', chr(92) + '|')}` |" for m in survived),
    ]
    return "\n".join(text) + "\n"


def main(count: int = 100, seed: int = 0, processes: int = 2) -> None:
    """Draws, tests and reports."""
    start = time.monotonic()
    made = {name: mutants_of(name, seed) for name in PARTS}
    drawn = [(n, s) for n, all_of in made.items() for s in random.Random(seed).sample(all_of, min(count, len(all_of)))]
    random.Random(seed).shuffle(drawn)  # a rate that holds for all that is left
    with tempfile.TemporaryDirectory() as above:
        context = multiprocessing.get_context("spawn")
        folders = context.Queue()
        for k in range(processes):
            folders.put(str(copied(Path(above) / str(k))))
        with ProcessPoolExecutor(processes, context, enter, (folders,)) as pool:
            with track("tests without a mutant", len(PARTS), "parts") as bar:
                limits = {}
                for name, seconds in zip(PARTS, pool.map(unchanged, PARTS), strict=True):
                    limits[name] = SLOWEST * seconds
                    bar.advance(1)
            waiting = [pool.submit(tested, name, spec, limits[name]) for name, spec in drawn]
            found: list[Mutant] = []
            with track("mutants", len(waiting), "mutants") as bar:
                for done in as_completed(waiting):
                    found.append(done.result())
                    bar.advance(1, survived=sum(not m.killed for m in found))
    about = {"count": count, "seed": seed, "date": time.strftime("%Y-%m-%d"), "seconds": time.monotonic() - start}
    about |= machine("cpu") | software(ROOT)
    sizes = {name: len(all_of) for name, all_of in made.items()}
    found = sorted(found, key=lambda m: (m.part, m.place, m.operator, m.occurrence))
    (RESULTS / "mutation.md").write_text(report(found, sizes, about))
    kept = {**about, "made": sizes, "mutants": [asdict(m) for m in found]}
    (RESULTS / "mutation.json").write_text(json.dumps(kept, indent=1) + "\n")
    print("\n".join(table(found, sizes)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
