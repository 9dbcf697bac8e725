"""Running the real command line in a folder of a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The smallest real job: scikit-learn's digits, few images to score.
SMALL = [
    *("preset=tiny", "data=digits", "perceptual=alex", "runtime=cpu", "runtime.threads=1", "tracking=none"),
    *("samples.count=16", "evaluation.reference_count=32", "evaluation.reconstruction_count=16"),
]


def words(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "run.py"), *overrides]


def run(folder: Path, *overrides: str, env: dict[str, str] | None = None, timeout: float = 900):
    """run.py in `folder`; returns the finished process, its output as text."""
    environment = {**os.environ, "WANDB_MODE": "offline", **(env or {})}
    return subprocess.run(
        words(*overrides), cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def built(output: str) -> list[str]:
    """Kinds of the stages that a run built, in order."""
    return re.findall(r"^\s+(\w+)-[0-9a-f]{8}\s+built in", output, re.M)


def found(output: str) -> list[str]:
    return re.findall(r"^\s+(\w+)-[0-9a-f]{8}\s+found", output, re.M)
