"""The command line in a checkout: ``python run.py [VERB] [-m] [GROUP=OPTION …] [KEY=VALUE …]``, or ``--help``."""

from pathlib import Path

from ablatent.cli.command import run

if __name__ == "__main__":
    run(Path(__file__).resolve().parent, "python run.py")
