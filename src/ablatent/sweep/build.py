"""Building one stage: find it, or make it, with tracking, provenance and a message."""

import importlib
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from ablatent.core.errors import StageError
from ablatent.core.files import write_atomic
from ablatent.core.progress import console, seconds
from ablatent.stages import ranks
from ablatent.stages.context import Context, prepared, set_up_torch, short
from ablatent.stages.graph import TRAINED, VERSIONS, Stage
from ablatent.store.artifacts import Artifact, Store, Work
from ablatent.store.code import code_digest
from ablatent.store.identity import digest
from ablatent.tracking.base import NoTracking, Tracking

PACKAGES = ("ablatent", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "torch-fidelity", "numpy", "scipy")
BEGUN = "code"
"""The file beside a checkpoint that says by what code the build was begun."""


@dataclass
class Builder:
    """Builds stages for one invocation (a sweep, or one spec)."""

    store: Store
    runtime: Mapping[str, Any]
    invocation: str
    on_code_change: str = "warn"
    tracking: Tracking = field(default_factory=NoTracking)

    def __call__(self, stage: Stage) -> tuple[Artifact, bool, float]:
        """(artifact, whether it was built now, seconds that this took); prints one line."""
        start = time.monotonic()
        found = self.store.find(stage.kind, stage.key)
        if found is not None and self._still_good(found, stage):
            console.print(f"  {short(stage.key):<24} found")
            return found, False, time.monotonic() - start
        artifact, built = self.store.get_or_build(
            stage.kind,
            stage.key,
            lambda work: self._build(stage, work),
            lambda: record(stage, self.runtime, (self.store.work_folder(stage.key) / BEGUN).read_text()),
            self.invocation,
        )
        spent = time.monotonic() - start
        word = f"[green]built[/] in {seconds(artifact.manifest.wall_seconds)}" if built else "found"
        console.print(f"  {short(stage.key):<24} {word}")
        return artifact, built, spent

    def _build(self, stage: Stage, work: Work) -> None:
        self._begin(stage, work)
        set_up_torch(self.runtime)
        if "images" in stage.digests:
            prepared(self.store, stage)
        tracking = self.tracking if stage.kind in TRAINED else NoTracking()
        with tracking.stage_run(stage.key, stage.kind, stage.config, self.invocation, work.attempt) as run:
            context = Context(stage, self.store, work, self.runtime, run)
            if ranks.wanted(stage, self.runtime):
                ranks.build(context)
            else:
                importlib.import_module(f"ablatent.stages.{stage.kind}.build").build(context)

    def _code(self, stage: Stage) -> str:
        """Of the stage, with what its inputs say they were built by."""
        inputs = {role: self.store.find(key.rsplit("-", 1)[0], key) for role, key in stage.inputs.items()}
        return stage_code(stage, {role: a.manifest.code or "" for role, a in inputs.items() if a is not None})

    def _begin(self, stage: Stage, work: Work) -> None:
        """Note by what code this build was begun; obey store.on_code_change where other code left a checkpoint."""
        mark, code = work.path / BEGUN, self._code(stage)
        if work.checkpoint.exists() and mark.exists() and mark.read_text() != code:
            text = f"{short(stage.key)}: other code than this began it"
            if self.on_code_change == "error":
                do = "Use store.on_code_change=rebuild to build it from the start."
                raise StageError(f"store.on_code_change=error: {text}. {do}")
            if self.on_code_change == "warn":
                console.print(f"  [yellow]{text}[/]; it goes on from there, and counts as built by that code.")
                return
            console.print(f"  {text}; it starts anew.")
            work.checkpoint.unlink()
            shutil.rmtree(work.files)
            work.files.mkdir()
        write_atomic(mark, code.encode())

    def _still_good(self, found: Artifact, stage: Stage) -> bool:
        """What store.on_code_change says of an artifact that other code built."""
        code = self._code(stage)
        if found.manifest.code == code:
            return True
        if self.on_code_change == "rebuild":
            why = f"{short(stage.key)} was built by other code."
            self.store.set_aside(stage.kind, stage.key, why, lambda there: there.manifest.code != code)
            return False
        text = (
            f"{short(stage.key)} was built by other code than this, or from what other code built "
            f"({found.manifest.git.get('commit', 'unknown')[:12]})."
        )
        if self.on_code_change == "error":
            raise StageError(f"store.on_code_change=error: {text} Use store.on_code_change=rebuild to build it again.")
        console.print(f"  [yellow]{text}[/] It is used as it is (store.on_code_change=warn).")
        return True


def targets(value: Any) -> list[str]:
    """Every module that a configuration's `_target_`s live in."""
    if isinstance(value, Mapping):
        own = [value["_target_"].rsplit(".", 1)[0]] if isinstance(value.get("_target_"), str) else []
        return own + [t for v in value.values() for t in targets(v)]
    if isinstance(value, list):
        return [t for v in value for t in targets(v)]
    return []


def stage_code(stage: Stage, inputs: Mapping[str, str] | None = None) -> str:
    """Digest of the code that builds this stage, and of the codes that its inputs say they were built by."""
    own = code_digest([f"ablatent.stages.{stage.kind}.build", *targets(stage.config), *targets(stage.data)])
    return digest({"own": own, "inputs": dict(inputs)}) if inputs else own


@cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that the package is imported from, and whether it had changes; unknown elsewhere."""
    from pathlib import Path

    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit or "unknown", "dirty": bool(git("status", "--porcelain")) if commit else False}


@cache
def packages() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def record(stage: Stage, runtime: Mapping[str, Any], code: str) -> dict[str, Any]:
    """What a manifest says beside its files: the stage, and by what it was built."""
    import torch

    several = ranks.wanted(stage, runtime)
    who = resource.RUSAGE_CHILDREN if several else resource.RUSAGE_SELF  # of several ranks, the largest
    peak = resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "version": VERSIONS[stage.kind],
        "config": stage.config,
        "inputs": stage.inputs,
        "data": {**stage.digests, "source": stage.data.get("_target_")},
        "code": code,
        "git": git_state(),
        "packages": packages(),
        "python": platform.python_version(),
        "host": {
            "machine": platform.machine(),
            "processor": _processor(),
            "system": platform.system(),
            "device": device,
            "devices": runtime["devices"] if several else 1,
            "threads": torch.get_num_threads(),
        },
        "peak_memory_bytes": peak,
    }


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as f:  # noqa: PTH123
            return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
