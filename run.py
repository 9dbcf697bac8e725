"""The command line: ``python run.py [-m] [GROUP=OPTION …] [KEY=VALUE …] [do=run|plan|report|…]``."""

from pathlib import Path

from ablatent.core.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # before the imports, which take seconds

    from ablatent.cli.main import main

    main(Path(__file__).resolve().parent)
