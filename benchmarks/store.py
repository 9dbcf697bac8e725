"""The cost of a store against its size: find, the expected times of a plan, do=status, do=verify.

python benchmarks/store.py [OBJECTS …]

Makes a store of each number of OBJECTS (1,000, 10,000 and 100,000) in a temporary folder, which it removes: small
synthetic objects, and a sweep of ten jobs for every hundred of them. Each function of the package runs on it in a
process of its own. Writes benchmarks/results/store.json and store.md: seconds, those of them on the CPU (which other
programs change little), and how much memory the process took on top of its imports. The files have just been written,
so that they come from memory rather than from a disk.
"""

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from ablatent.cli.verbs import VerifyVerb
from ablatent.core.files import sha256
from ablatent.core.progress import track
from ablatent.stages.stage import Stage
from ablatent.store.artifacts import FORMAT, FORMAT_FILE, Store
from ablatent.store.identity import FileName, Key, SweepId, digest
from ablatent.store.layout import PLAN, object_folder, sweep_folder
from ablatent.store.records import FileRecord, JobRecord, JobStage, Manifest, PlannedJob, PlannedStage, PlanRecord
from ablatent.sweep.expected_time import ExpectedTime
from ablatent.sweep.status import print_status

SIZES = (1_000, 10_000, 100_000)
KINDS = ("latents", "samples", "scores", "features")
PER_SWEEP, JOBS = 100, 10
FOUND = 1_000  # objects that `find` looks for
RESULTS = Path(__file__).parent / "results"


def config_of(number: int) -> dict[str, object]:
    """About the size of the configuration of a samples stage."""
    return {"seed": number, "count": 64, **{f"option_{i}": {"_target_": "x.Y", "value": i} for i in range(12)}}


def publish(root: Path, number: int) -> Key:
    """One object, as `Store.get_or_build` leaves it, but without fsync."""
    kind = KINDS[number % len(KINDS)]
    key = Key(f"{kind}-{digest(number)}")
    folder = object_folder(root, key)
    folder.mkdir(parents=True)
    files = {}
    for name in ("summary.json", "values.bin"):
        (folder / name).write_bytes(f"{number}".encode() * 40)
        files[FileName(name)] = FileRecord((folder / name).stat().st_size, sha256(folder / name))
    manifest = Manifest(
        kind=kind,
        key=key,
        attempt="0" * 12,
        files=files,
        created="2026-01-01T00:00:00+0000",
        wall_seconds=1.0,
        version=1,
        config=config_of(number),
        inputs={},
        data={"images": "0" * 32, "source": "x.Data"},
        code="0" * 32,
        packages={"torch": "1"},
    )
    manifest = replace(manifest, seal=digest(manifest.to_json()))
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json(), indent=2, sort_keys=True))
    return key


def stage_of(number: int) -> Stage:
    return Stage(kind=KINDS[number % len(KINDS)], version=1, config=config_of(number), digests={"images": "0" * 32})


def add_sweep(root: Path, number: int, keys: list[Key]) -> None:
    """A sweep of JOBS jobs with these objects as their stages."""
    sweep = SweepId(f"20260101-{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}-{number:04x}")
    stages = {key: PlannedStage(**{**stage_of(i).spec(), "kind": key.kind}) for i, key in enumerate(keys)}
    jobs, records = [], []
    for index in range(JOBS):
        own = {f"{key.kind}{i}": key for i, key in enumerate(keys[index::JOBS])}
        axes = {"seed": str(index)}
        config = {"options": [config_of(i) for i in range(4)]}
        jobs.append(
            PlannedJob(
                index=index, name=f"seed={index}", overrides=[], axes=axes, config=config, stages=own, refused=None
            )
        )
        outcomes = {role: JobStage(key, "built", 1.0) for role, key in own.items()}
        records.append(JobRecord(index, "finished", None, 1.0, outcomes))
    plan = PlanRecord(
        id=sweep, created="now", command="python run.py -m …", verb="run", axes={}, jobs=jobs, stages=stages
    )
    folder = sweep_folder(root, sweep)
    (folder / "jobs").mkdir(parents=True)
    (folder / PLAN).write_text(json.dumps(plan.to_json()))
    for record in records:
        (folder / "jobs" / f"{record.index:03d}.json").write_text(json.dumps(record.to_json()))


def fill(root: Path, objects: int) -> None:
    """A store of so many objects."""
    (root / FORMAT_FILE).write_text(str(FORMAT))
    with track(f"making {objects:,} objects", objects, "objects") as bar:
        for start in range(0, objects, PER_SWEEP):
            keys = [publish(root, number) for number in range(start, min(start + PER_SWEEP, objects))]
            add_sweep(root, start // PER_SWEEP, keys)
            bar.advance(len(keys))


def find(root: Path) -> None:
    """Open FOUND objects, as a run does that finds them all."""
    store = Store(root)
    for number in range(FOUND):
        store.open(Key(f"{KINDS[number % len(KINDS)]}-{digest(number)}"))


def expected(root: Path) -> None:
    """The expected time of one stage, from the newest stored stages of its kind."""
    stage = stage_of(10**9)
    ExpectedTime(Store(root), {stage.key: stage})(stage)


def status(root: Path) -> None:
    """do=status."""
    print_status(Store(root), None)


def verify(root: Path) -> None:
    """do=verify."""
    VerifyVerb()([], Store(root), {}, "")


MEASURED: dict[str, Callable[[Path], None]] = {
    f"find {FOUND:,} objects": find,
    "expected time of a stage": expected,
    "do=status": status,
    "do=verify": verify,
}


def peak_kb() -> int:
    """The most memory that this process had, in KiB; getrusage would begin at the peak of the process that began it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measure(name: str, root: str, pipe: "multiprocessing.connection.Connection") -> None:
    """In a process of its own: (seconds, seconds of its CPU, MB on top of imports) of a function."""
    before = peak_kb()
    start, busy = time.monotonic(), time.process_time()
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        MEASURED[name](Path(root))
    spent, busy = time.monotonic() - start, time.process_time() - busy
    pipe.send((spent, busy, (peak_kb() - before) / 1024))


def measured(name: str, root: Path) -> dict[str, float]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(name, str(root), theirs))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name}: code {process.exitcode}")
    seconds, busy, megabytes = ours.recv()
    return {"seconds": round(seconds, 3), "cpu_seconds": round(busy, 3), "megabytes": round(megabytes, 1)}


def main(sizes: list[int]) -> int:
    """Measure every size, and write both files."""
    rows = []
    for objects in sizes:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), objects)
            for name in MEASURED:
                row = {"objects": objects, "what": name, **measured(name, Path(folder))}
                rows.append(row)
                print(f"{objects:>9,}  {name:<28} {cell(row)}", flush=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    (RESULTS / "store.md").write_text(table(rows))
    return 0


def cell(row: dict[str, float]) -> str:
    return f"{row['seconds']:.2f} s ({row['cpu_seconds']:.2f} CPU), {row['megabytes']:.0f} MB"


def table(rows: list[dict[str, float]]) -> str:
    """The rows as a Markdown table, a line for each function, a column for each size."""
    sizes = list(dict.fromkeys(row["objects"] for row in rows))
    lines = [
        "# A store against its size",
        "",
        "`python benchmarks/store.py`: seconds, those on the CPU, memory on top of imports; small synthetic objects.",
        "",
        f"| | {' | '.join(f'{size:,} objects' for size in sizes)} |",
        f"|---|{'---:|' * len(sizes)}",
    ]
    for name in MEASURED:
        cells = [
            f"{row['seconds']:.2f} s, {row['cpu_seconds']:.2f} s, {row['megabytes']:.0f} MB"
            for row in rows
            if row["what"] == name
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or list(SIZES)))
