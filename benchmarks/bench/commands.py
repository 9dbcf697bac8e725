"""Sides that are whole commands: run.py in a folder of the side."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.row import Case

TINY = (
    *("preset=tiny", "data=digits", "perceptual=alex", "runtime=cpu", "tracking=none", "samples.count=64"),
    *("evaluation.reference_count=128", "evaluation.reconstruction_count=64"),
)
"""The smallest real job: scikit-learn's digits, every loss term."""

SHORT = ("first_stage.training.steps=4", "training.steps=4")
"""For rows that only need some trained model."""


def run(case: Case, folder: Path, *overrides: str, code: int = 0) -> str:
    """`run.py` with these arguments in a folder, with the threads of the case; what it printed.

    Raises RuntimeError where it ends with another code.
    """
    return command(case, folder, [str(case.root / "run.py"), *overrides, f"runtime.threads={case.threads}"], code)


def command(case: Case, folder: Path, arguments: Sequence[str], code: int = 0) -> str:
    """A command of the interpreter, with the code of the case's tree. Raises RuntimeError as `run` does."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, *arguments]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(
            f"{words}: expected code {code}; got {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout
