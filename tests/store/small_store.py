"""Small stores with objects that refer to each other, and sweeps that refer to them."""

import os
import time
from pathlib import Path

from ablatent.core.files import write_json
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key, SweepId
from ablatent.store.layout import PLAN, sweep_folder
from ablatent.store.records import JobRecord, JobStage, PlannedJob, PlannedStage, PlanRecord

OLD, NEW = SweepId("20260101-000000-aaaa"), SweepId("20260102-000000-bbbb")
MONTH = 30 * 86400.0


def put(root: Path, key: str, *inputs: str, size: int = 100, uses: dict | None = None, **record) -> Key:
    """Publish an object with these inputs, a file of so many bytes, and further entries of its manifest."""

    def build(work):
        (work.files / "a.bin").write_bytes(os.urandom(size))
        (work.files / "folder").mkdir()
        (work.files / "folder" / "b.txt").write_text(key)
        for name, used in (uses or {}).items():
            work.add_use(name, Key(used))

    about = {"inputs": {k.rpartition("-")[0]: k for k in inputs}, **record}
    Store(root).get_or_build(Key(key), build, lambda work: about)
    return Key(key)


def add_sweep(root: Path, sweep: SweepId, stages: dict[str, list[str]], images: str | None = None) -> None:
    """Record a sweep of one job. stages: key → keys of its inputs; images: digest of those that all stages read."""
    planned = {
        Key(key): PlannedStage(
            kind=Key(key).kind,
            version=1,
            config={},
            inputs={Key(k).kind: Key(k) for k in inputs},
            digests={} if images is None else {"images": images},
            data={},
            builder="x",
            trained=False,
            scored=False,
            figure=None,
            neutral={},
        )
        for key, inputs in stages.items()
    }
    roles = {key.kind: key for key in planned}
    job = PlannedJob(index=0, name="", overrides=[], axes={}, config={}, stages=roles, refused=None)
    plan = PlanRecord(id=sweep, created="now", command="run.py", verb="run", axes={}, jobs=[job], stages=planned)
    done = JobRecord(0, "finished", None, 1.0, {r: JobStage(k, "built", 1.0) for r, k in roles.items()})
    folder = sweep_folder(root, sweep)
    (folder / "jobs").mkdir(parents=True)
    (folder / "report").mkdir()
    write_json(folder / "jobs" / "000.json", done.to_json())
    (folder / "report" / "report.html").write_text("<p>")
    write_json(folder / PLAN, plan.to_json())


def age(root: Path, seconds: float = MONTH) -> None:
    """Let everything in a folder be so many seconds old."""
    for path in (root, *root.rglob("*")):
        os.utime(path, (time.time() - seconds,) * 2)


def keys(root: Path) -> set[str]:
    """The keys of all objects."""
    return {path.name for path in root.glob("objects/*/*")}


def two_sweeps(root: Path) -> None:
    """A first stage that both sweeps read, a diffusion model and samples of each, prepared images and features."""
    put(root, "data-d0")
    put(root, "features-f0")
    put(root, "features-f1")
    put(root, "first_stage-00", data={"images": "d0"})
    for n, sweep in enumerate((OLD, NEW)):
        put(root, f"diffusion-0{n}", "first_stage-00", size=1000 * (n + 1))
        put(root, f"scores-0{n}", f"diffusion-0{n}", uses={"inception of samples": f"features-f{n}"})
        stages = {"first_stage-00": [], f"diffusion-0{n}": ["first_stage-00"], f"scores-0{n}": [f"diffusion-0{n}"]}
        add_sweep(root, sweep, stages, images="d0")
    put(root, "latents-99")
