"""The provenance of a stage, for its manifest: digest of its code, commit, packages, machine."""

import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablatent.core.declared import nodes_below
from ablatent.core.files import read_json
from ablatent.core.targets import TARGET
from ablatent.stages import ranks
from ablatent.stages.stage import Stage
from ablatent.store.code import code_digest
from ablatent.store.identity import digest

GIT_FILE = "git.json"
"""Above the src/ of a copy of the package: the `git_state` of what was copied."""
PACKAGES = ("ablatent", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "torch-fidelity", "numpy", "scipy")


def stage_code(stage: Stage, inputs: Mapping[str, str] | None = None) -> str:
    """Digest of the code that builds this stage, and of the codes of its inputs (role → digest).

    It starts at the stage's builder and at the modules of all `_target_`s: checks, costs and the planner are no part.
    """
    own = code_digest(modules_of(stage))
    return digest({"own": own, "inputs": dict(inputs)}) if inputs else own


def modules_of(stage: Stage) -> list[str]:
    """The modules that a stage's build begins with: of its builder, and of all `_target_`s."""
    return [stage.builder, *(node[TARGET].rsplit(".", 1)[0] for node in nodes_below([stage.config, stage.data]))]


@cache
def git_state() -> dict[str, Any]:
    """{"commit", "dirty"} of the checkout that the package is imported from, or that its copy was made of; "unknown",
    False outside of one, also where an installed package lies in a checkout of something else."""
    here = Path(__file__).parent
    if (noted := here.parents[2] / GIT_FILE).exists():
        return dict(read_json(noted))

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD") if git("ls-files", Path(__file__).name) else None
    return {"commit": commit or "unknown", "dirty": bool(git("status", "--porcelain")) if commit else False}


@cache
def packages() -> dict[str, str]:
    """Name → version of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


def record(stage: Stage, runtime: Mapping[str, Any], code: str) -> dict[str, Any]:
    """The entries of a manifest beside its files: the stage and its provenance. code: see `stage_code`."""
    import torch

    several = ranks.several(stage, runtime)
    processes = resource.RUSAGE_CHILDREN if several else resource.RUSAGE_SELF  # of several ranks, the largest
    peak = resource.getrusage(processes).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "version": stage.version,
        "config": stage.config,
        "inputs": stage.inputs,
        "data": {**stage.digests, "source": stage.data.get(TARGET)},
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
