"""The README's sweep of 8 jobs on each engine: are the results the same to the bit, and how long does each take?

python benchmarks/engines.py [ENGINE …]

ENGINE (all): inline, process (2 slots), slurm (2 nodes) and ray (head and 2 nodes), and Hydra's launchers joblib (2
jobs), submitit_local and submitit_slurm; with clusters of the tests' own (tests/cluster; root). Tiny preset, digits,
a single thread. Compared are all stored files without times in them, with those of inline. An engine that is not
there is left out, with a line that says why. Writes benchmarks/results/engines.md and .json; code 1 where anything
differs.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kills import ROOT, contents

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]

SWEEP = [
    *("-m", "first_stage=kl,vq", "schedule=linear,cosine", "sampler=ddpm,ddim", "preset=tiny", "data=digits"),
    *("perceptual=alex", "runtime=cpu", "runtime.threads=1", "tracking=none", "samples.count=64"),
    *("evaluation.reference_count=128", "evaluation.reconstruction_count=64"),
]
RESULTS = Path(__file__).parent / "results"


@contextmanager
def here(*overrides: str) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """An engine that needs nothing beside the command: its overrides, and variables of the environment."""
    yield list(overrides), {}


@contextmanager
def slurm(*overrides: str) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """A Slurm of two nodes of one processor; overrides: of the engine that uses it."""
    from slurm_cluster import Cluster, missing

    if reason := missing():
        raise LookupError(reason)
    with Cluster() as cluster:
        yield list(overrides), cluster.env


@contextmanager
def ray() -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """A Ray with two nodes of one processor."""
    from ray_nodes import ENVIRONMENT, Cluster
    from ray_sweeps import NEEDED

    if NEEDED:
        raise LookupError(NEEDED)
    with Cluster() as cluster:
        for node in ("127.0.0.3", "127.0.0.4"):
            cluster.add(node)
        yield ["executor=ray", f"executor.address={cluster.address}"], ENVIRONMENT


ENGINES: dict[str, Callable[[], "contextmanager"]] = {
    "inline": lambda: here("executor=inline"),
    "process": lambda: here("executor=process", "executor.slots=2"),
    "joblib": lambda: here("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": lambda: here("hydra/launcher=submitit_local"),
    "slurm": lambda: slurm("executor=slurm", "executor.resources.default.cpus=1", "executor.poll_seconds=2"),
    "submitit_slurm": lambda: slurm("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30"),
    "ray": ray,
}


def swept(folder: Path, overrides: list[str], variables: Mapping[str, str]) -> float:
    """Seconds that the sweep takes. Raises RuntimeError where it fails."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *SWEEP, *overrides],
        cwd=folder,
        env={**os.environ, **variables, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
    return time.monotonic() - begun


def main(*names: str) -> int:
    rows, expected = [], None
    with tempfile.TemporaryDirectory() as place:
        for name in dict.fromkeys(("inline", *(names or ENGINES))):
            folder = Path(place, name)
            folder.mkdir()
            try:
                with ENGINES[name]() as (overrides, variables):
                    spent = swept(folder, overrides, variables)
            except LookupError as reason:
                rows.append({"engine": name, "left out": str(reason)})
                print(rows[-1], flush=True)
                continue
            found = contents(folder)
            expected = found if expected is None else expected
            different = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            rows.append({"engine": name, "seconds": round(spent), "files": len(found), "files that differ": different})
            print(rows[-1], flush=True)
    write(rows)
    return int(any(row.get("files that differ") for row in rows))


def write(rows: list[dict]) -> None:
    """The record, in benchmarks/results."""
    (RESULTS / "engines.json").write_text(json.dumps(rows, indent=2) + "\n")
    lines = [
        f"| {row['engine']} | {row.get('seconds', '–')} | {row.get('files', '–')} "
        f"| {row.get('left out') or ', '.join(row['files that differ']) or 'none'} |"
        for row in rows
    ]
    about = (
        f"`python benchmarks/engines.py`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}): "
        "8 jobs of the tiny preset, one thread each. Times are of whole commands, without starting a cluster; two "
        "workers share two cores with the cluster's own processes."
    )
    head = "| engine | seconds | stored files | differ from inline |\n|---|---|---|---|"
    text = "\n".join(["# One sweep on every engine", "", about, "", head, *lines, ""])
    (RESULTS / "engines.md").write_text(text)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
