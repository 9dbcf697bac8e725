"""experiments=all: the experiments of experiments/all.yaml, each a command and a sweep of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from ablatent.cli.raw_overrides import value_of
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.here import program
from ablatent.core.options import EXPERIMENTS, option_files
from ablatent.core.progress import console
from ablatent.core.signals import before_end
from ablatent.core.targets import PACKAGE

ALL = "all"


def wanted(overrides: Sequence[str]) -> bool:
    """Whether the typed experiment is all of them. Raises ConfigError where it is all and others."""
    typed = value_of(overrides, "experiments") or ""
    if typed != ALL and ALL in typed.split(","):
        raise ConfigError("experiments", f"{ALL}, or the name of one experiment", typed)
    return typed == ALL


def sequence(root: Path) -> list[str]:
    """The names of the experiments in their order. Raises ConfigError for one that is none."""
    files = option_files(EXPERIMENTS, root)
    names, there = [str(name) for name in OmegaConf.load(files[ALL]).sequence], [name for name in files if name != ALL]
    for name in names:
        if name not in there:
            expected = "one of " + ", ".join(there)
            raise ConfigError(f"experiments/{ALL}.yaml", expected, name, did_you_mean(name, there))
    return names


def run_all(root: Path, arguments: Sequence[str]) -> int:
    """Run the command of these arguments with each experiment in turn; the last exit code that is not 0, else 0.

    One that fails stops no other.
    """
    code = 0
    for name in sequence(root):
        console.print(f"[bold]experiments={name}[/]")
        words = [f"experiments={name}" if a.lstrip("+") == f"experiments={ALL}" else a for a in arguments]
        sys.stdout.flush()
        script = ["-m", PACKAGE] if program() == PACKAGE else [str(Path(sys.argv[0]).resolve())]
        child = subprocess.Popen([sys.executable, *script, *words])
        with before_end(child.terminate):
            code = child.wait() or code
    return code
