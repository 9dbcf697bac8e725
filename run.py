"""The command line: ``python run.py [-m] [GROUP=OPTION …] [KEY=VALUE …] [do=run|plan|report|…]``, or ``--help``."""

import sys
from pathlib import Path

from ablatent.core.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # before the imports, which take seconds
    root = Path(__file__).resolve().parent

    from ablatent.cli import help

    if help.wanted(sys.argv[1:]):
        sys.exit(help.show(root, sys.argv[1:]))

    from ablatent.cli.main import main

    main(root)
