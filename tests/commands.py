"""Running the real command line in a folder of a test."""

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

from warm import warm

ROOT = Path(__file__).parents[1]
# The smallest real job: scikit-learn's digits, few images to score.
SMALL = [
    *("preset=tiny", "data=digits", "perceptual=alex", "runtime=cpu", "runtime.threads=1", "tracking=none"),
    *("samples.count=16", "evaluation.reference_count=32", "evaluation.reconstruction_count=16"),
]


def words(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "run.py"), *overrides]


def run(folder: Path, *overrides: str, env: dict[str, str] | None = None, timeout: float = 900, cold: bool = False):
    """run.py in `folder`; returns the finished process, its output as text. cold: by an interpreter of its own."""
    return python(folder, *words(*overrides)[1:], env=env, timeout=timeout, cold=cold)


def python(folder: Path, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900, cold: bool = False):
    """A script with its arguments, or -m MODULE with its own."""
    environment = {**os.environ, "WANDB_MODE": "offline", **(env or {})}
    if not cold:
        return warm().run(arguments, folder, environment, timeout)
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def inline(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """As `run`, but in this process, for what ends before anything is built: starts none."""
    from hydra.core.global_hydra import GlobalHydra

    from ablatent.cli.main import main

    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    handlers, level, code = root.handlers[:], root.level, 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, {"WANDB_MODE": "offline"}),
        mock.patch.object(sys, "argv", words(*overrides)[1:]),
    ):
        GlobalHydra.instance().clear()
        try:
            main(ROOT)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        finally:
            GlobalHydra.instance().clear()
            root.handlers[:] = handlers  # Hydra's write to what is no longer the output
            root.setLevel(level)
    return subprocess.CompletedProcess(words(*overrides), code, out.getvalue(), err.getvalue())


def built(output: str) -> list[str]:
    """Kinds of the stages that a run built, in order."""
    return re.findall(r"^\s+(\w+)-[0-9a-f]{8}\s+built in", output, re.M)


def found(output: str) -> list[str]:
    return re.findall(r"^\s+(\w+)-[0-9a-f]{8}\s+found", output, re.M)
